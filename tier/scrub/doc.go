// Package scrub reads what lies on the local disk again before anybody needs it.
//
// Sealed segments are sent with sendfile: between the day it was written and its upload, or its end, no broker looks at their
// bytes. A round checks all of them, slowly, one after the other, and goes on where it was after a restart:
//
//	partition a  ├ 0 ┤├ 1 ┤├ 2 ┤ active      partition b  ├ 0 ┤├ 1 ┤ active
//	              ──────── round ────▸ place (written down) ────▸        then it rests until an interval has passed
//
// A segment of which one place is read again and again (Suspect), and what a person asks for (Now), is checked at once.
//
// What must stay true: one check runs at a time; nothing waits for it but who asked; a round reads no faster than its pace; a lost
// or damaged place begins a round anew and harms nothing. What to do about damage is the log's business.
//
// Start reading at Scrubber.Run.
package scrub
