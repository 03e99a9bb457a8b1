resource "qanat_cluster_config" "all" {
  configs = {
    "cluster.balance" = "on"
  }
}
