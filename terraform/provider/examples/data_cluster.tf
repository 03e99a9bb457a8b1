data "qanat_cluster" "this" {}

check "all_is_well" {
  assert {
    condition     = data.qanat_cluster.this.healthy
    error_message = join("; ", data.qanat_cluster.this.problems)
  }
}
