data "qanat_topic" "orders" {
  name = "orders"
}

output "orders_partitions" {
  value = data.qanat_topic.orders.partitions
}
