package config

import "testing"

// A list of peers could be taken that no cluster can be formed of, or one that can be refused.
func TestPeers(t *testing.T) {
	for v, n := range map[string]int{
		"":                        0,
		"1@a:1":                   1,
		"3@a:1, 1@b:1,2@[::1]:1":  3,
		"1@a:1,2@b:1":             -1,
		"1@a:1,2@b:1,3@c:1,4@d:1": -1,
		"1@a:1,1@b:1,2@c:1":       -1,
		"1@a:1,2@a:1,3@c:1":       -1,
		"a:1":                     -1,
		"-1@a:1":                  -1,
		"x@a:1":                   -1,
		"1@a":                     -1,
		"1@:9645":                 -1,
		"1@a:0":                   -1,
		"1@a:99999":               -1,
		"1@a:1,2@b:1,3@c:1,4@d:1,5@e:1,6@f:1,7@g:1": -1,
	} {
		peers, err := parsePeers(v)
		if (err != nil) != (n < 0) || err == nil && len(peers) != n {
			t.Errorf("%q: %v, %v", v, peers, err)
		}
		for i := range peers {
			if i > 0 && peers[i-1].ID >= peers[i].ID {
				t.Errorf("%q: not sorted: %v", v, peers)
			}
		}
	}
}
