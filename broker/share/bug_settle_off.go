//go:build !qanat_bug_settle

package share

// bugSettle answers what a member says of a record, and has that nowhere but in memory. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugSettle = false
