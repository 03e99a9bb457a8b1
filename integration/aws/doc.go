// Package aws tries terraform/modules/aws and its examples for real: applied, read back, changed and destroyed against an AWS that is not one
// (moto, and what server.py adds to it), whose instances are machines of this machine.
//
//	terraform ── AWS provider ──▸ hypervisor ──▸ moto ◂── read.py: everything that is there, as JSON
//	    │ hooks/roll                  │ an instance is run, has its volume, is terminated      ▴
//	    ▾                             ▾                                                        │
//	  qanat ──────────▸ three machines (systemd-nspawn, a loop device each) ── volume, secrets, bucket
//
// integration/scripts/aws makes the network, moto and Terraform's settings; without it, these tests skip. Each test has a region of its own.
//
// Start reading at TestProduction.
package aws
