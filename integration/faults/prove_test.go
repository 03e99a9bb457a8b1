package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// piped is what two members of a group have made of three records, the last in a transaction that was aborted.
const piped = `
0 begin harness
0 topic t 2
0 derive g 1
1 begin franz-go idempotent
1 send s0 0
1 ok s0 0
1 send s1 0
1 ok s1 1
1 send s2 0
1 ok s2 2
2 begin franz-go idempotent transactional
2 send s0 1 1.0
2 commit c0 g 1 0 1
2 transaction s0 s0
2 ok s0 0
2 ok c0
2 send s1 1 1.1
2 commit c1 g 1 0 2
2 transaction s1 s1
2 ok s1 2
2 ok c1
2 send s2 1 1.2
2 commit c2 g 1 0 3
2 fail s2 aborted
2 fail c2 aborted
3 begin franz-go final
3 poll 0 0 1.0 1.1 1.2
3 poll 1 0 2.0
3 poll 1 2 2.1
3 final 0 3
3 final 1 4
3 fetch f0 g 0
3 ok f0 2
`

// A lie about records that are made of others, or about offsets within transactions, is believed, or has nothing to be told of.
func TestLiesOfWhatIsMade(t *testing.T) {
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(piped), "\n") {
		process, rest, _ := strings.Cut(line, " ")
		fmt.Fprintf(&b, "%s %d %s\n", process, 1000*(i+1), rest)
	}
	file := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := prove(&said, []string{file}); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for _, lie := range []string{
		"an aborted transaction's offset is committed", "two records are made of one", "no record is made of one", "a transaction's records are there, its offset is not",
	} {
		if !strings.Contains(said.String(), fmt.Sprintf("%-54s caught\n", lie)) {
			t.Errorf("%q was not told, or not caught:\n%s", lie, said.String())
		}
	}
}
