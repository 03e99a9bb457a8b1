// Package aws tries terraform/modules/aws and its examples for real: applied, read back, changed and destroyed against an AWS that is not one
// (moto), and what its instances are started with, run on machines of this machine.
//
//	terraform ── AWS provider ──▸ moto ◂── read.py: everything that is there, as JSON
//	    │
//	    └── user data ──▸ three machines (systemd-nspawn, a loop device each) ── secrets, role, bucket ──▸ moto
//
// integration/scripts/aws makes the network, moto and Terraform's settings; without it, these tests skip.
//
// Start reading at TestProduction.
package aws
