resource "qanat_broker_config" "third" {
  broker_id = 3
  configs = {
    "follower.replication.throttled.rate" = "50000000"
  }
}
