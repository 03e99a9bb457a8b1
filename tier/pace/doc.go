// Package pace spreads the reads of background work over time, so that whoever is waited for has the disk.
package pace
