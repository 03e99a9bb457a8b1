# What contradicts itself is refused, and what is right plans what it should. Nothing is started: every run only plans.

variables {
  name  = "test"
  qanat = "qanat"
  brokers = {
    "1" = { az = "a" }
    "2" = { az = "b" }
    "3" = { az = "c" }
  }
}

run "three" {
  command = plan

  assert {
    condition     = output.bootstrap == "127.0.0.1:19092,127.0.0.1:19095,127.0.0.1:19098"
    error_message = "the brokers' addresses follow from base_port: ${output.bootstrap}"
  }
  assert {
    condition     = local.configs["3"]["cluster.peers"] == "1@127.0.0.1:19094,2@127.0.0.1:19097,3@127.0.0.1:19100" && local.configs["3"]["broker.rack"] == "c"
    error_message = "the three lowest vote, and az is the rack"
  }
  assert {
    condition     = output.provider.tls.ca == output.ca && startswith(local.configs["1"].listeners, "SSL://")
    error_message = "TLS is on by default, and the provider is given its CA"
  }
}

run "a_fourth_restarts_nobody" {
  command = plan

  variables {
    brokers = {
      "1" = { az = "a" }
      "2" = { az = "b" }
      "3" = { az = "c" }
      "4" = { az = "a" }
    }
  }

  assert {
    condition     = local.configs["1"]["cluster.peers"] == "1@127.0.0.1:19094,2@127.0.0.1:19097,3@127.0.0.1:19100" && local.configs["1"]["default.replication.factor"] == "3"
    error_message = "the first broker's configuration changes with a fourth one, which restarts it"
  }
}

run "without_tls" {
  command = plan

  variables {
    tls = null
  }

  assert {
    condition     = output.ca == null && !can(output.provider.tls) && local.configs["1"].listeners == "PLAINTEXT://127.0.0.1:19092"
    error_message = "tls = null is no TLS"
  }
}

run "name" {
  command = plan
  variables {
    name = "Test"
  }
  expect_failures = [var.name]
}

run "program" {
  command = plan
  variables {
    qanat = "/nowhere/qanat"
  }
  expect_failures = [var.qanat]
}

run "directory" {
  command = plan
  variables {
    directory = "data"
  }
  expect_failures = [var.directory]
}

run "broker_ids" {
  command = plan
  variables {
    brokers = { "33" = {} }
  }
  expect_failures = [var.brokers]
}

run "some_without_az" {
  command = plan
  variables {
    brokers = { "1" = { az = "a" }, "2" = {} }
  }
  expect_failures = [var.brokers]
}

run "two_voters" {
  command = plan
  variables {
    voters = ["1", "2"]
  }
  expect_failures = [var.voters]
}

run "voter_that_is_no_broker" {
  command = plan
  variables {
    voters = ["4"]
  }
  expect_failures = [var.voters]
}

run "bucket" {
  command = plan
  variables {
    bucket = { url = "bucket" }
  }
  expect_failures = [var.bucket]
}

run "client_auth" {
  command = plan
  variables {
    tls = { client_auth = "yes" }
  }
  expect_failures = [var.tls]
}

run "certificates" {
  command = plan
  variables {
    tls = { directory = "/nowhere" }
  }
  expect_failures = [var.tls]
}

run "config_that_follows" {
  command = plan
  variables {
    config = { "node.id" = "7" }
  }
  expect_failures = [var.config]
}

run "more_replicas_than_brokers" {
  command = plan
  variables {
    config = { "default.replication.factor" = "4" }
  }
  expect_failures = [var.config]
}

run "min_insync" {
  command = plan
  variables {
    config = { "default.replication.factor" = "2", "min.insync.replicas" = "3" }
  }
  expect_failures = [var.config]
}

run "otlp" {
  command = plan
  variables {
    otlp_endpoint = "127.0.0.1:4318"
  }
  expect_failures = [var.otlp_endpoint]
}

run "ports" {
  command = plan
  variables {
    base_port = 65500
  }
  expect_failures = [var.base_port]
}

run "a_voter_twice_and_replicas_in_words" {
  command = plan
  variables {
    voters = ["1", "1", "2"]
    config = { "min.insync.replicas" = "two" }
  }
  expect_failures = [var.voters, var.config]
}
