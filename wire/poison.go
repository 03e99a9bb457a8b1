//go:build !race

package wire

const poisonFrames = false
