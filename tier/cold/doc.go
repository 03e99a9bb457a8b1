// Package cold reads the remote log: manifest → chunk cache → ranged GETs, with readahead.
package cold
