package datadir

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// livesFile names the incarnations under which brokers have last registered from this directory, the newest first: JSON, an array
// of 32 hex digits each. It is written before an incarnation registers. So a directory whose broker the cluster knows under none
// of them is an older copy: the directory itself was used later.
const livesFile = "broker.lives"

// livesKept bounds how many are named. The cluster may know an older one than the newest, since those after it never came to register: all
// are kept from the one on that it knows. So many starts without a registration leave nothing that could be said of the directory.
const livesKept = 4096

// livesTag ends every incarnation that is written here. Older releases write none: after one of them has run on the directory,
// which may be, what the cluster knows says nothing.
const livesTag = "life"

// NewLife draws an incarnation.
func NewLife() (l [16]byte) {
	l = kafka.NewTopicID()
	copy(l[len(l)-len(livesTag):], livesTag)
	return l
}

// Lives are the incarnations that have last registered from this directory; none are known of an older release's.
func (d *Dir) Lives(fsys vfs.FS) (list [][16]byte, err error) {
	name := filepath.Join(d.Path, livesFile)
	raw, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the directory's past: %w", err)
	}
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w (remove it, if the directory is no older copy)", name, err)
	}
	for _, n := range names {
		b, err := hex.DecodeString(n)
		if err != nil || len(b) != 16 {
			return nil, fmt.Errorf("%s is damaged: %q is no incarnation (remove it, if the directory is no older copy)", name, n)
		}
		list = append(list, [16]byte(b))
	}
	return list, nil
}

// Begin notes durably that an incarnation is about to register from this directory. last is the one that the cluster knows, zero for none.
func (d *Dir) Begin(fsys vfs.FS, incarnation, last [16]byte) error {
	list, err := d.Lives(fsys)
	if err != nil {
		return err
	}
	if i := slices.Index(list, last); i >= 0 {
		list = list[:i+1]
	}
	if len(list) >= livesKept {
		return fmt.Errorf("this directory's broker was started %d times and never registered with its cluster: find out why (its log says it), then remove %s",
			livesKept, filepath.Join(d.Path, livesFile))
	}
	var names []string
	for _, l := range slices.Insert(list, 0, incarnation) {
		names = append(names, hex.EncodeToString(l[:]))
	}
	raw, err := json.Marshal(names)
	if err == nil {
		err = writeAtomic(fsys, filepath.Join(d.Path, livesFile), append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note that this broker registers: %w", err)
	}
	return nil
}

// ErrOldCopy says that a directory has been used after this copy of it was made.
var ErrOldCopy = errors.New("the data directory is an older copy")

// Outlived fails with ErrOldCopy when the cluster knows a later life of the directory than is written here: last is the
// incarnation that registered last from it.
func (d *Dir) Outlived(fsys vfs.FS, last [16]byte) error {
	list, err := d.Lives(fsys)
	if err != nil || list == nil || slices.Contains(list, last) || !strings.HasSuffix(string(last[:]), livesTag) {
		return err
	}
	return fmt.Errorf("%w: broker %d was started on %s after this copy was made, and what it acknowledged since is not here; put the newer one back, or start with an empty directory, "+
		"which the others fill (with nothing else left, removing %s accepts that it is older)", ErrOldCopy, d.Meta.NodeID, d.Path, filepath.Join(d.Path, livesFile))
}
