//go:build !qanat_bug_truncate

package partition

// bugTruncate has a new follower cut its log to its high watermark, as Kafka did before KIP-101. A deliberate bug: the fault runs
// are tried with it (faults bugs), and have to find it.
func (p *Partition) bugTruncate() {}
