//go:build race

package wire

// poisonFrames overwrites released frames, so that whoever still looks at one fails in tests rather than in production.
const poisonFrames = true
