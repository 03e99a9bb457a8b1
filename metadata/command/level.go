package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Level numbers what is written into the metadata log and its snapshots. A cluster works at one level; it rises when
// every registered broker supports the next, and never falls.
//
//	0  everything up to the first 22 kinds, and version 2 of the snapshot
//	1  SetLevel, and version 3 of the snapshot, which holds the level
//	2  ChangeGroup, and the parts of groups in the snapshot
//	3  PutTransaction, DeleteTransaction, CommitTxnOffsets, and transactions in the snapshot
//	4  ChangeShare, ResetShares, and the shares of share groups in the snapshot
//	5  groups of the streams protocol, which are parts of ChangeGroup that an older coordinator cannot read
//
// Whoever adds a kind, a version of one, or a field adds a level, and what needs it is not proposed below (Level.Knows):
// a node that does not know what the log holds halts.
type Level uint16

// ErrLevel says that a cluster works at too low a metadata level for a command, or at too high a one for a broker.
var ErrLevel = errors.New("metadata level is not supported")

// NewestLevel is the newest that this release supports; it supports all below.
const NewestLevel Level = 5

// StreamsLevel is where there may be streams groups.
const StreamsLevel Level = 5

// Streams tells whether every broker of a cluster at the level can coordinate streams groups.
func (l Level) Streams() error { return l.reaches(StreamsLevel, "a streams group") }

func (l Level) reaches(needed Level, what string) error {
	if needed > l {
		return fmt.Errorf("%w: %s needs %d, the cluster works at %d until every registered broker runs this release", ErrLevel, what, needed, l)
	}
	return nil
}

// SetLevel raises the cluster's level. Refused when a registered broker does not support it; one that is not higher changes
// nothing. A release that does not support the level does not decode it.
type SetLevel struct {
	Level Level `cbor:"1,keyasint"`
}

// levelMark stands between a release and the level that it supports, as SemVer's build metadata.
const levelMark = "+metadata."

// WithLevel is what a broker says of its release when it registers. The level stands there, and in no field of its own,
// because a release from before there were levels must be able to read the registration.
func WithLevel(release string, supported Level) string {
	return fmt.Sprintf("%s%s%d", release, levelMark, supported)
}

// SplitLevel takes apart what WithLevel made; a release without a level supports 0.
func SplitLevel(version string) (release string, supported Level) {
	i := strings.LastIndex(version, levelMark)
	if i < 0 {
		return version, 0
	}
	n, err := strconv.ParseUint(version[i+len(levelMark):], 10, 16)
	if err != nil {
		return version, 0
	}
	return version[:i], Level(n)
}

// decodeLevel refuses a level that this release does not support: everything behind it may be unknown too.
func decodeLevel(body []byte) (Command, error) {
	c, err := decode[SetLevel](body)
	if err != nil {
		return nil, err
	}
	if l := c.(SetLevel).Level; l > NewestLevel {
		return nil, fmt.Errorf("%w: the cluster works at metadata level %d, this release supports up to %d", ErrUnknown, l, NewestLevel)
	}
	return c, nil
}
