package archive

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/object"
)

// False if: uploads take their time while a local segment lies there only because the bucket does not have it; or hurry
// while all that waits may stay where it is, once it is uploaded, or for a partition that is gone.
func TestUploadsHurryForWhatIsOverdue(t *testing.T) {
	run(t, 2, func(t *testing.T, w *world) {
		keeps, gives := w.parts[0], w.parts[1]
		gives.policy.LocalRetention = Retention{Age: time.Hour, Bytes: -1}
		w.bucket.Add(object.Rule{Verb: object.Put, Fault: object.Fault{Hang: true}})
		a, stop := w.start(Config{})
		defer stop()
		for range 3 {
			keeps.log.segment(0)
			gives.log.segment(0)
		}
		after(30 * time.Minute)
		if s := a.Stats(); s.PendingBytes == 0 || a.Hurried() {
			t.Errorf("hurried %v with a backlog of %d bytes that is half an hour old", a.Hurried(), s.PendingBytes)
		}
		after(40 * time.Minute)
		if s, _ := a.PartitionStatus(gives.id); !a.Hurried() || s.OverdueBytes != s.PendingBytes {
			t.Errorf("hurried %v, %d of %d bytes are overdue", a.Hurried(), s.OverdueBytes, s.PendingBytes)
		}
		a.Remove(gives.id)
		if synctest.Wait(); a.Hurried() {
			t.Error("hurried for a partition that is gone")
		}
		a.Add(gives)
		after(time.Minute)
		if !a.Hurried() {
			t.Error("not hurried for a partition that is back")
		}
		w.bucket.Clear()
		after(10 * time.Minute)
		if s := a.Stats(); a.Hurried() || s.PendingBytes != 0 || a.backlog.Load() != 0 {
			t.Errorf("hurried %v with %d bytes to upload, backlog %d", a.Hurried(), s.PendingBytes, a.backlog.Load())
		}
	})
}
