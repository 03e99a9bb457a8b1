data "qanat_group" "billing" {
  group = "billing"
}

output "billing_lag" {
  value = data.qanat_group.billing.lag
}
