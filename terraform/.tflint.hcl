# The provider is in no registry yet, so that there is no version to ask for.
rule "terraform_required_providers" {
  enabled = true
  version = false
}
