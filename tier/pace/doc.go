// Package pace spreads background work's reads over time, so that whoever is waited for has the disk and the network.
package pace
