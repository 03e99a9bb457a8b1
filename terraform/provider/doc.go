// Package provider is terraform-provider-qanat: schemas, and what Terraform asks about them, over package cluster, which knows brokers and
// nothing of Terraform.
//
//	terraform ─▶ provider.go     configuration → one session for all resources: the cluster, and what is allowed
//	             topic.go        qanat_topic          what cannot be done is refused by the plan
//	             brokerconfig.go qanat_cluster_config, qanat_broker_config
//	             offsets.go      qanat_group_offsets
//	             data.go         data sources
//	                 └─▶ cluster ─▶ brokers
//
// What must stay true: nothing is deleted unless allow_deletion says so; a topic that was created is never left out of the state, nor tainted,
// because of what went wrong afterwards, since Terraform would delete it; what others set on brokers, or defaults say, is no drift.
//
// docs/ is generated from the schemas.
//
//go:generate go run ./gen -docs docs
package provider
