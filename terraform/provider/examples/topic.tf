resource "qanat_topic" "orders" {
  name               = "orders"
  partitions         = 12
  replication_factor = 3
  configs = {
    "min.insync.replicas" = "2"
    "retention.ms"        = "31536000000" # a year, most of it in the bucket
    "local.retention.ms"  = "86400000"    # a day of it on the brokers' disks
  }
}
