resource "qanat_group_offsets" "billing" {
  group = "billing"
  topic = qanat_topic.orders.name
  to    = "2026-11-01T00:00:00Z" # or "earliest", "latest"
}

resource "qanat_group_offsets" "audit" {
  group   = "audit"
  topic   = qanat_topic.orders.name
  offsets = { "0" = 1500, "1" = 1620 }
}
