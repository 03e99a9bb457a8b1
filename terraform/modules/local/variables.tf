variable "name" {
  description = "Name of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name))
    error_message = "name: write 2 to 24 of a-z, 0-9 and -, beginning with a letter, as for modules/aws."
  }
}

variable "qanat" {
  description = "The program, a path or a name in PATH. When its content changes, the brokers are restarted with it one after the other."
  type        = string
  default     = "qanat"

  validation {
    condition     = !strcontains(var.qanat, "/") || fileexists(var.qanat)
    error_message = "qanat: there is no file ${var.qanat}. Write the path of the program (make build makes bin/qanat), or its name in PATH."
  }
}

variable "directory" {
  description = "Where data, logs and certificates are; destroy removes it. It cannot be changed while the cluster is there. Default: .qanat/NAME beside the configuration."
  type        = string
  default     = null

  validation {
    condition     = var.directory == null || can(regex("^/[^'\"\\\\$ ]+$", var.directory))
    error_message = "directory: write an absolute path without spaces and quotes, as abspath(\"data\") gives it."
  }
}

variable "base_port" {
  description = "Broker 1 has this port for clients, the next for its admin port and the one after for other brokers; broker 2 the three behind, and so on."
  type        = number
  default     = 19092

  validation {
    condition     = var.base_port >= 1024 && var.base_port + 3 * 32 <= 65536
    error_message = "base_port: write a number from 1024 to 65440: 32 brokers have three ports each."
  }
}

variable "brokers" {
  description = "node.id → broker. A number stays with its ports and its data for as long as it is here. az is its rack."
  type = map(object({
    az = optional(string)
  }))

  validation {
    condition     = length(var.brokers) > 0 && alltrue([for id in keys(var.brokers) : can(regex("^([1-9]|[12][0-9]|3[0-2])$", id))])
    error_message = "brokers: write node ids from 1 to 32 as keys, as { \"1\" = {}, \"2\" = { az = \"b\" } }: their certificates are made all at once, because the CA's key is thrown away."
  }

  validation {
    condition     = length(distinct([for b in values(var.brokers) : b.az == null])) <= 1
    error_message = "brokers: ${join(", ", [for id, b in var.brokers : id if b.az == null])} without az, others with one. Write az for all of them, or for none: replicas are spread over racks."
  }
}

variable "voters" {
  description = "The node ids of cluster.peers: who forms the cluster and votes first. Default: the three lowest, or the lowest. A change restarts every broker, one after the other; adding brokers does not."
  type        = list(string)
  default     = null

  validation {
    condition     = var.voters == null || contains([1, 3, 5], length(coalesce(var.voters, [])))
    error_message = "voters: write one, three or five node ids, or leave it out."
  }

  validation {
    condition     = length(distinct(coalesce(var.voters, []))) == length(coalesce(var.voters, []))
    error_message = "voters: one of ${join(", ", coalesce(var.voters, []))} is there twice. Write each once."
  }

  validation {
    condition     = var.voters == null || length(setsubtract(coalesce(var.voters, []), keys(var.brokers))) == 0
    error_message = "voters: ${join(", ", setsubtract(coalesce(var.voters, []), keys(var.brokers)))} not among brokers. Write some of ${join(", ", keys(var.brokers))}. A voter that is to leave is first replaced here, then taken out of brokers."
  }
}

variable "bucket" {
  description = "Where closed segments go: dir:/PATH, s3://NAME/PREFIX?…, minio://NAME/PREFIX?endpoint=…. Credentials are those of terraform's environment. null: a directory below directory, which destroy removes; any other bucket stays as it is."
  type        = object({ url = string })
  default     = null

  validation {
    condition     = var.bucket == null || can(regex("^(dir:/|s3://|minio://).+", var.bucket.url))
    error_message = "bucket.url: write dir:/PATH, s3://NAME/PREFIX?region=… or minio://NAME/PREFIX?endpoint=http://HOST:PORT, or leave bucket out for a directory."
  }
}

variable "tls" {
  description = <<-E
    TLS on every port, with certificates that qanat cert dev makes. directory: your own, with ca.pem, broker-ID.pem and broker-ID-key.pem (with the broker's role) and, for
    client_auth = "required", client.pem and client-key.pem. client_auth is Kafka's ssl.client.auth. null: nothing is encrypted. Whether there is TLS cannot be changed while the cluster is there.
  E
  type = object({
    directory   = optional(string)
    client_auth = optional(string, "none")
  })
  default = {}

  validation {
    condition     = var.tls == null || contains(["none", "requested", "required"], try(var.tls.client_auth, ""))
    error_message = "tls.client_auth: write none, requested or required."
  }

  validation {
    condition     = try(var.tls.directory, null) == null || alltrue([for f in concat(["ca.pem"], flatten([for id in keys(var.brokers) : ["broker-${id}.pem", "broker-${id}-key.pem"]])) : fileexists("${coalesce(try(var.tls.directory, null), "-")}/${f}")])
    error_message = "tls.directory: there must be ca.pem, and broker-ID.pem and broker-ID-key.pem for each of ${join(", ", keys(var.brokers))}. Write a directory that has them, or leave directory out for certificates of a throwaway CA."
  }
}

variable "config" {
  description = "Further keys of the brokers' configuration (docs/configuration.md). A change restarts the brokers, one after the other: keys that are dynamic are better set while they run (qanat_cluster_config)."
  type        = map(string)
  default     = {}

  validation {
    condition = length(setintersection(keys(var.config), [
      "node.id", "broker.id", "broker.rack", "data.dir", "log.dirs", "log.dir", "listeners", "advertised.listeners", "listener.security.protocol.map",
      "cluster.listener", "raft.listener", "cluster.peers", "cluster.advertised", "bucket.url", "admin.listener",
      "admin.security.protocol", "security.inter.broker.protocol", "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.truststore.location", "ssl.client.auth"
    ])) == 0
    error_message = "config: node.id, broker.rack, directories, addresses, listeners, bucket.url and ssl.* follow from brokers, directory, base_port, bucket and tls (ssl.client.auth: tls.client_auth). Take them out of config."
  }

  validation {
    condition     = alltrue([for k, v in var.config : can(regex("^[a-z][a-z0-9.]*$", k)) && !strcontains(v, "\n")])
    error_message = "config: write keys as docs/configuration.md does, and each value in one line."
  }

  validation {
    condition     = alltrue([for k in ["default.replication.factor", "min.insync.replicas"] : can(regex("^[1-9][0-9]{0,3}$", lookup(var.config, k, "1")))])
    error_message = "config: write default.replication.factor and min.insync.replicas as whole numbers from 1 on."
  }

  validation {
    condition     = try(tonumber(var.config["default.replication.factor"]), 1) <= length(var.brokers)
    error_message = "config: default.replication.factor is ${try(var.config["default.replication.factor"], "")}, and there are ${length(var.brokers)} brokers. Write at most that many, or add brokers."
  }

  validation {
    condition     = try(tonumber(var.config["min.insync.replicas"]), 1) <= try(tonumber(var.config["default.replication.factor"]), min(3, length(var.brokers)))
    error_message = "config: min.insync.replicas is above default.replication.factor (${try(var.config["default.replication.factor"], min(3, length(var.brokers)))}): acks=all would be refused. Write at most one less."
  }
}

variable "otlp_endpoint" {
  description = "Where brokers push telemetry (OTEL_EXPORTER_OTLP_ENDPOINT), for example http://127.0.0.1:4318. null: nowhere."
  type        = string
  default     = null

  validation {
    condition     = var.otlp_endpoint == null || can(regex("^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[^ '\"]*)?$", var.otlp_endpoint))
    error_message = "otlp_endpoint: write http://HOST:PORT or https://HOST:PORT."
  }
}

variable "rolling" {
  description = <<-E
    How brokers are replaced and restarted: one at a time, each after the whole cluster is healthy, and the next after it is again.
    drain: a broker that is replaced (-replace) is emptied first, as far as others can take its replicas; what they cannot take, because there are too few, is copied to it afterwards.
    timeout: seconds that each wait may take.
  E
  type = object({
    drain   = optional(bool, true)
    timeout = optional(number, 300)
  })
  default = {}

  validation {
    condition     = var.rolling.timeout >= 10
    error_message = "rolling.timeout: write at least 10 seconds."
  }
}
