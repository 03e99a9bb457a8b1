package vfs

import "testing"

// False if it failed: "a kernel whose syncfs does not report errors is not trusted with it".
func TestKernelAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"5.8.0": true, "5.7.19-generic": false, "6.1": true, "5.10-rc1": true, "4.19.0": false, "10.0.1": true, "": false, "x.y": false, "5": false,
	} {
		if got := kernelAtLeast(release, 5, 8); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
