// Package hosted is the set of partitions that this broker hosts, kept in
// step with the image: opened, led, resigned, resized, deleted as the quorum says.
//
//	quorum ── Apply(old, new, changes) ──▸ Set ── Open/Lead/Publish/Delete ──▸ partition
//	api ───── Get (lock-free) ──────────▸ Set
//
// What must stay true: a partition is open exactly when the newest applied
// image names this broker among its replicas, and leads under the image's leader epoch;
// but for one whose storage failed, which stays closed, is reported, and is tried again (renew.go).
package hosted
