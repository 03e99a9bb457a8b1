variable "name" {
  description = "Name of the cluster, and the beginning of the names of all that belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name))
    error_message = "name: write 2 to 24 of a-z, 0-9 and -, beginning with a letter: it begins the names of load balancer (at most 32 characters) and bucket."
  }

  validation {
    condition     = !startswith(var.name, "internal-")
    error_message = "name: AWS takes no load balancer whose name begins with internal-. Write another beginning."
  }
}

variable "vpc" {
  description = "Id of the VPC."
  type        = string
}

variable "subnets" {
  description = "Availability zone → id of the subnet in which its brokers are, and an address of the load balancer."
  type        = map(string)

  validation {
    condition     = length(var.subnets) > 0
    error_message = "subnets: write one for each zone that has brokers, as { \"eu-central-1a\" = \"subnet-…\" }."
  }

  validation {
    condition     = length(distinct(values(var.subnets))) == length(var.subnets)
    error_message = "subnets: a subnet is in one zone, and here one is written for several. Write one of each zone."
  }
}

variable "route_tables" {
  description = "Route tables of the subnets, which get an S3 gateway endpoint: what goes to the bucket neither leaves AWS nor costs by the byte. Empty: there is one already."
  type        = set(string)
  default     = []
}

variable "brokers" {
  description = "node.id → broker. A number stays with its address, name and volume for as long as it is here; instance_type may be changed, and volume_gib grow. Another az is another address and an empty volume: give another number one."
  type = map(object({
    az            = string
    instance_type = optional(string, "m7g.large")
    volume_gib    = optional(number)
  }))

  validation {
    condition     = length(var.brokers) > 0 && alltrue([for id in keys(var.brokers) : can(regex("^(0|[1-9][0-9]{0,8})$", id))])
    error_message = "brokers: write node ids as keys, as { \"1\" = { az = \"eu-central-1a\" } }."
  }

  validation {
    condition     = alltrue([for b in values(var.brokers) : b.volume_gib == null ? true : b.volume_gib >= 1 && b.volume_gib <= 16384 && floor(b.volume_gib) == b.volume_gib])
    error_message = "brokers: write volume_gib as 1 to 16384, a whole number, or leave it out: then it is volume.gib."
  }

  validation {
    condition     = alltrue([for b in values(var.brokers) : contains(keys(var.subnets), b.az)])
    error_message = "brokers: ${join(", ", [for id, b in var.brokers : "${id} is in ${b.az}" if !contains(keys(var.subnets), b.az)])}, of which subnets has none. Add the zone to subnets, or write one of ${join(", ", keys(var.subnets))}."
  }
}

variable "voters" {
  description = "The node ids of cluster.peers: who forms the cluster and votes first. Default: the three lowest, or with fewer than three brokers the lowest. A change replaces every broker, one after the other (see rolling). Adding brokers with higher numbers to three or more changes nothing; with fewer, write voters, and default.replication.factor and min.insync.replicas in config, which follow from their number."
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
    error_message = "voters: ${join(", ", setsubtract(coalesce(var.voters, []), keys(var.brokers)))} not among brokers. Write some of ${join(", ", keys(var.brokers))}. A voter stays in brokers for as long as it is here."
  }
}

variable "ami" {
  description = "AMI of the brokers, with systemd and cloud-init: Debian 12, Ubuntu 22.04, Amazon Linux 2023 or later, of the instance types' architecture. Pinned, because another one replaces the brokers, one after the other."
  type        = string
}

variable "artifact" {
  description = "The archive that `make dist` makes for Linux and the instances' architecture, and its SHA-256 from SHA256SUMS."
  type = object({
    url    = string
    sha256 = string
  })

  validation {
    condition     = can(regex("^(https|file)://[^ '\"\\\\$]+[.]tar[.]gz$", var.artifact.url))
    error_message = "artifact.url: write https://…/qanat_VERSION_linux_ARCH.tar.gz (or file://, for what the AMI has)."
  }

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.artifact.sha256))
    error_message = "artifact.sha256: write the 64 hexadecimal digits that SHA256SUMS has for it."
  }
}

variable "volume" {
  description = "The brokers' data volumes, gp3. They stay when an instance is replaced. GiB may grow later, and is taken up at the broker's next start."
  type = object({
    gib            = optional(number, 100)
    iops           = optional(number, 3000)
    throughput     = optional(number, 125)
    final_snapshot = optional(bool, true)
  })
  default = {}

  validation {
    condition     = var.volume.gib >= 1 && var.volume.gib <= 16384 && floor(var.volume.gib) == var.volume.gib
    error_message = "volume.gib: write 1 to 16384, a whole number."
  }

  validation {
    condition     = var.volume.throughput >= 125 && var.volume.throughput <= 1000 && var.volume.throughput * 4 <= var.volume.iops
    error_message = "volume.throughput: ${var.volume.throughput} MiB/s wants iops of at least ${max(3000, var.volume.throughput * 4)} (gp3 gives 125 to 1000 MiB/s, a quarter of iops at most)."
  }

  validation {
    condition     = var.volume.iops >= 3000 && var.volume.iops <= 16000 && alltrue([for b in values(var.brokers) : var.volume.iops <= 500 * coalesce(b.volume_gib, var.volume.gib) || var.volume.iops == 3000])
    error_message = "volume.iops: write 3000 to 16000, and above 3000 no more than 500 for each GiB: ${var.volume.iops} wants ${ceil(var.volume.iops / 500)} GiB on every broker."
  }
}

variable "bucket" {
  description = "Where closed segments go. create = false: an existing one, whose own encryption, policy and lifecycle are left as they are; only what is below prefix is touched."
  type = object({
    create        = optional(bool, true)
    name          = optional(string)
    prefix        = optional(string, "")
    force_destroy = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.bucket.create || var.bucket.name != null
    error_message = "bucket: create = false, and no name. Write the existing bucket's name, or leave create out."
  }

  validation {
    condition     = var.bucket.name == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket.name))
    error_message = "bucket.name: write 3 to 63 of a-z, 0-9, . and -, as S3 wants a bucket's name; what is below it goes to prefix."
  }

  validation {
    condition     = var.bucket.create || !var.bucket.force_destroy
    error_message = "bucket: force_destroy deletes history, and is only for a bucket that the module creates. Leave it out with create = false."
  }

  validation {
    condition     = can(regex("^([A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)?$", var.bucket.prefix))
    error_message = "bucket.prefix: write NAME or NAME/NAME, without / at either end."
  }
}

variable "kms_key" {
  description = "ARN of the KMS key of volumes, bucket and secrets. Default: AWS's own keys (S3: SSE-S3). Chosen once: with another one AWS makes volumes anew, empty."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^arn:[a-z-]+:kms:", var.kms_key))
    error_message = "kms_key: write the key's ARN (arn:aws:kms:…:key/…), not its id or alias."
  }
}

variable "access" {
  description = "Who reaches the brokers: clients their Kafka port and the bootstrap address, admins the admin port (health, metrics, drains; the machine that runs terraform, for one). CIDR blocks and security groups."
  type = object({
    client_cidrs           = optional(set(string), [])
    client_security_groups = optional(map(string), {})
    admin_cidrs            = optional(set(string), [])
    admin_security_groups  = optional(map(string), {})
  })
  default = {}

  validation {
    condition = alltrue([
      for c in setunion(var.access.client_cidrs, var.access.admin_cidrs) : can(regex("^[0-9.]+/[0-9]+$", c)) && try("${cidrhost(c, 0)}/${split("/", c)[1]}" == c, false)
    ])
    error_message = "access: write IPv4 networks, such as 10.0.0.0/16 (not 10.0.0.1/16, nor IPv6: brokers have IPv4 addresses); security groups go to client_security_groups and admin_security_groups, as { name = \"sg-…\" }."
  }

  validation {
    condition     = !contains(var.access.admin_cidrs, "0.0.0.0/0")
    error_message = "access.admin_cidrs: the admin port can drain brokers, and asks nobody who he is. Write the networks of those who may."
  }
}

variable "public" {
  description = "The bootstrap load balancer has public addresses. Only it has: what it names are the brokers, whose names stand for private addresses, so that clients need a way to those as well (VPN, peering). Records never go through a load balancer."
  type        = bool
  default     = false

  validation {
    condition     = !var.public || var.tls != null
    error_message = "public: a public bootstrap address without TLS. Give tls, or leave public out."
  }
}

variable "dns" {
  description = "Brokers are called broker-ID.DOMAIN and the load balancer bootstrap.DOMAIN. zone: id of the hosted zone; without it a private one is made for the VPC."
  type = object({
    domain = string
    zone   = optional(string)
  })

  validation {
    condition     = can(regex("^[a-z0-9-]+([.][a-z0-9-]+)+$", var.dns.domain))
    error_message = "dns.domain: write a domain in lower case, such as kafka.example.internal."
  }

  validation {
    condition     = !var.public || var.dns.zone != null
    error_message = "public: clients outside resolve no name of a private zone. Write dns.zone, the id of a public hosted zone."
  }
}

variable "tls" {
  description = <<-E
    TLS on every port: ca is the PEM of those who sign brokers' certificates (and clients'); client_auth is Kafka's ssl.client.auth. Certificates
    and keys are given as certificates, and version is raised when they change. Without tls nothing is encrypted on the network.
  E
  type = object({
    ca          = string
    client_auth = optional(string, "none")
    version     = optional(number, 1)
  })
  default = null

  validation {
    condition     = var.tls == null || can(regex("-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", var.tls.ca))
    error_message = "tls.ca: write the PEM text, whole, as file(\"ca.pem\") gives it."
  }

  validation {
    condition     = var.tls == null || try(var.tls.version >= 0 && floor(var.tls.version) == var.tls.version, false)
    error_message = "tls.version: write 1, and a higher whole number with each new certificate; 0 where somebody else writes the secrets."
  }

  validation {
    condition     = var.tls == null || contains(["none", "requested", "required"], try(var.tls.client_auth, ""))
    error_message = "tls.client_auth: write none, requested or required."
  }
}

variable "certificates" {
  description = <<-E
    node.id → PEM of the broker's certificate (with what signed it behind) and of its key. It has the names broker-ID.DOMAIN and bootstrap.DOMAIN,
    serverAuth and clientAuth, and the broker's role, qanat:///broker/ID. Neither state nor plan keeps them: they go to Secrets Manager, and
    go there again when tls.version is another. With tls.version = 0 somebody else puts them there (output secrets).
  E
  type = map(object({
    certificate = string
    key         = string
  }))
  default   = null
  ephemeral = true

  # Without TLS they would go nowhere, and nothing would be encrypted.
  validation {
    condition     = var.certificates == null || var.tls != null
    error_message = "certificates: they are given, and tls is not, so that nothing would be encrypted. Write tls = { ca = file(\"ca.pem\") }, or leave certificates out."
  }

  validation {
    condition     = try(var.tls.version, 0) <= 0 || length(setsubtract(keys(var.brokers), keys(coalesce(var.certificates, {})))) == 0
    error_message = "certificates: tls wants a certificate and a key of each of the brokers ${join(", ", keys(var.brokers))}. Write { \"ID\" = { certificate = \"…\", key = \"…\" } } (TF_VAR_certificates), or tls.version = 0, where somebody else writes the secrets."
  }

  validation {
    condition     = alltrue([for c in values(coalesce(var.certificates, {})) : can(regex("-----BEGIN CERTIFICATE-----", c.certificate)) && can(regex("-----BEGIN [A-Z ]*PRIVATE KEY-----", c.key))])
    error_message = "certificates: write the PEM text of certificate and key, as file(\"broker-1.pem\") gives it."
  }
}

variable "join_token" {
  description = "cluster.join.token, which brokers show each other, where join_token_version is 1 or more. Neither state nor plan keeps it; it goes to Secrets Manager."
  type        = string
  default     = null
  ephemeral   = true

  # It would go nowhere, and anybody could join who reaches the port.
  validation {
    condition     = var.join_token == null || var.join_token_version != null
    error_message = "join_token: it is given, and join_token_version is not, so that the brokers would have none. Write join_token_version = 1."
  }

  validation {
    condition     = try(var.join_token_version, null) == null || try(var.join_token_version < 1, true) || try(length(var.join_token) >= 16, false)
    error_message = "join_token: join_token_version is 1 or more, and the token has not the 16 characters that make it hard to guess. Write TF_VAR_join_token=\"$(openssl rand -base64 30)\", or join_token_version = 0, where somebody else writes the secret."
  }
}

variable "join_token_version" {
  description = "null: there is no token. 0: somebody else puts it there (output secrets). 1 or more: join_token goes there, and again when this is another number."
  type        = number
  default     = null

  validation {
    condition     = var.join_token_version == null || try(var.join_token_version >= 0 && floor(var.join_token_version) == var.join_token_version, false)
    error_message = "join_token_version: write 1, and a higher whole number with each new token; 0 where somebody else writes the secret."
  }
}

variable "config" {
  description = "Further keys of the brokers' configuration (docs/configuration.md). A change replaces every broker, one after the other (see rolling): keys that are dynamic are set while they run."
  type        = map(string)
  default     = {}

  validation {
    condition = length(setintersection(keys(var.config), [
      "node.id", "broker.id", "broker.rack", "data.dir", "log.dirs", "log.dir", "listeners", "advertised.listeners", "listener.security.protocol.map",
      "cluster.listener", "raft.listener", "cluster.peers", "cluster.advertised", "cluster.join.token", "bucket.url", "admin.listener", "admin.allowed.hosts",
      "admin.security.protocol", "security.inter.broker.protocol", "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.truststore.location", "ssl.client.auth"
    ])) == 0
    error_message = "config: node.id, names, addresses, listeners, bucket.url and ssl.* follow from brokers, dns, bucket and tls (ssl.client.auth: tls.client_auth; cluster.join.token: join_token). Take them out of config."
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
  description = "Where brokers push metrics, traces and logs (OTEL_EXPORTER_OTLP_ENDPOINT), for example http://collector.example.internal:4318. null: nowhere; Prometheus reads the admin port."
  type        = string
  default     = null

  validation {
    condition     = var.otlp_endpoint == null || can(regex("^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[^ '\"]*)?$", var.otlp_endpoint))
    error_message = "otlp_endpoint: write http://HOST:PORT or https://HOST:PORT."
  }
}

variable "rolling" {
  description = <<-E
    How brokers are replaced: one after the other, each when the whole cluster is healthy, and the apply ends when it is again (docs/decisions/0012-rolling-replacement.md).
    command is the qanat program as it is called on the machine that runs terraform (or on another: "ssh bastion qanat"), which must reach the brokers' admin ports. "": nobody
    waits, and all that are to be replaced go at once.
    drain: empty a broker of its replicas before, which copies all of its local data to others and is refused when there are too few. Without it leaderships move, replicas stay.
    timeout: seconds that each wait may take. parallelism: what terraform apply -parallelism is given (its default: 10): each broker that waits for its turn takes one of these places.
  E
  type = object({
    command     = optional(string, "qanat")
    drain       = optional(bool, false)
    timeout     = optional(number, 900)
    parallelism = optional(number, 10)
  })
  default = {}

  validation {
    condition     = length(var.brokers) < var.rolling.parallelism
    error_message = "rolling: each broker that waits for its turn takes one of terraform's places, and there are ${var.rolling.parallelism} for ${length(var.brokers)} brokers: nobody would come back. Call terraform apply -parallelism=${length(var.brokers) + 5} and write that number to rolling.parallelism."
  }

  validation {
    condition     = var.rolling.timeout >= 1 && floor(var.rolling.timeout) == var.rolling.timeout
    error_message = "rolling.timeout: write whole seconds, from 1 on. Where nobody is to wait: rolling.command = \"\"."
  }

  validation {
    condition     = !var.rolling.drain || length(var.brokers) > 3
    error_message = "rolling.drain: with ${length(var.brokers)} brokers no other one can take the replicas of topics that have three. Leave it out, or have four brokers."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
