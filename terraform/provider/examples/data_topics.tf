data "qanat_topics" "team" {
  prefix = "payments."
}
