// Package partition is one partition at its leader: leader epoch, high watermark, ISR, producer state, waiters.
package partition
