package checker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/integration/history"
)

// large is a lawful history of many sends by many producers, each read by three readers.
func large(tb testing.TB, sends int) *history.History {
	tb.Helper()
	const producers, partitions, readers, run = 20, 8, 3, 50
	var b strings.Builder
	time := 0
	line := func(process int, format string, args ...any) {
		time++
		fmt.Fprintf(&b, "%d %d %s\n", process, time, fmt.Sprintf(format, args...))
	}
	line(0, "begin sim idempotent")
	line(0, "topic t %d dense", partitions)
	for p := 1; p < producers; p++ {
		line(p, "begin sim idempotent")
	}
	for r := range readers {
		line(100+r, "begin sim")
	}
	line(200, "begin sim final")
	logs := make([][]string, partitions)
	read := make([]int, partitions)
	poll := func(process, partition int, from, to int) {
		line(process, "poll %d %d %s", partition, from, strings.Join(logs[partition][from:to], " "))
	}
	for i := range sends {
		p, partition := i%producers, i/producers%partitions
		n := i / producers
		line(p, "send s%d %d", n, partition)
		if n >= 2 {
			before := (i - 2*producers) / producers % partitions
			line(p, "ok s%d %d", n-2, len(logs[before]))
			logs[before] = append(logs[before], fmt.Sprintf("%d.%d", p, n-2))
			if len(logs[before])-read[before] == run {
				for r := range readers {
					poll(100+r, before, read[before], read[before]+run)
				}
				read[before] += run
			}
		}
	}
	for partition := range logs {
		for from := 0; from < len(logs[partition]); from += run {
			poll(200, partition, from, min(from+run, len(logs[partition])))
		}
		line(200, "final %d %d", partition, len(logs[partition]))
	}
	h, err := history.Read(strings.NewReader(b.String()))
	if err != nil {
		tb.Fatal(err)
	}
	return h
}
