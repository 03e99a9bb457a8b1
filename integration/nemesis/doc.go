// Package nemesis makes faults: to processes, networks, disks, files, clocks, the
// bucket, and to where leaders and replicas are.
//
// What is done when, and to whom, is a Plan, drawn from a seed before anything
// happens: the same seed, faults and time make the same plan on any machine. A
// plan is rounds; a round begins one fault or a few of different classes, leaves
// them for a while, ends them all in reverse order, and may or may not give the
// cluster time to mend before the next. What the system makes of it is not
// determined, and need not be.
//
// A Fault says what it needs; what this machine or this system cannot do is
// listed by Possible with the reason, so that a table of results shows it as not
// tried instead of passed.
//
// faults.go has them all; plan.go draws; bench.go carries out.
package nemesis
