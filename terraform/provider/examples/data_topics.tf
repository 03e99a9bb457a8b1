data "qanat_topics" "team" {
  prefix = "payments."
}

output "payment_topics" {
  value = data.qanat_topics.team.names
}
