package vfs

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
)

const rootID = 1

// tree is the state of a Crash: what programs see, what is durable, and the
// operations between the two.
//
// Invariant: for every node, synced with pending applied in order gives data;
// for all directories, durable with pendingNames applied in order gives names.
type tree struct {
	nodes        map[int]*node // also unlinked ones: they may be open, or come back in a cut
	nextID       int
	pendingNames []crashOp
}

type node struct {
	id  int
	dir bool

	data    []byte // of a file
	room    int64  // allocated for it; gone after a cut
	synced  []byte
	pending []crashOp

	names   map[string]int // of a directory
	durable map[string]int
}

type opKind int

const (
	opCreate opKind = iota
	opMkdir
	opRemove
	opRename
	opWrite
	opTruncate
	opSync
	opSyncDir
	opSyncAll
	opFailWriteBack
)

// crashOp is one mutating operation. Nodes are named by number, so that it can be replayed.
type crashOp struct {
	kind   opKind
	node   int // the file, or what is created, removed or renamed
	dir    int
	name   string
	toDir  int
	toName string
	off    int64 // also the size to truncate to
	data   []byte
}

// String names the operation for test output.
func (o crashOp) String() string {
	switch o.kind {
	case opCreate:
		return fmt.Sprintf("create %q in directory %d", o.name, o.dir)
	case opMkdir:
		return fmt.Sprintf("mkdir %q in directory %d", o.name, o.dir)
	case opRemove:
		return fmt.Sprintf("remove %q from directory %d", o.name, o.dir)
	case opRename:
		return fmt.Sprintf("rename %q to %q", o.name, o.toName)
	case opWrite:
		return fmt.Sprintf("write %d bytes at %d of node %d", len(o.data), o.off, o.node)
	case opTruncate:
		return fmt.Sprintf("truncate node %d to %d", o.node, o.off)
	case opSync:
		return fmt.Sprintf("sync node %d", o.node)
	case opSyncDir:
		return fmt.Sprintf("sync directory %d", o.dir)
	case opFailWriteBack:
		return "fail to write back"
	}
	return "sync volume"
}

func newTree() *tree {
	root := &node{id: rootID, dir: true, names: map[string]int{}, durable: map[string]int{}}
	return &tree{nodes: map[int]*node{rootID: root}, nextID: rootID + 1}
}

func (t *tree) clone() *tree {
	c := &tree{nodes: make(map[int]*node, len(t.nodes)), nextID: t.nextID, pendingNames: slices.Clone(t.pendingNames)}
	for id, n := range t.nodes {
		c.nodes[id] = &node{
			id: n.id, dir: n.dir, room: n.room,
			data: slices.Clone(n.data), synced: slices.Clone(n.synced), pending: slices.Clone(n.pending),
			names: maps.Clone(n.names), durable: maps.Clone(n.durable),
		}
	}
	return c
}

func (t *tree) bytes() int64 {
	var sum int64
	for _, n := range t.nodes {
		sum += n.takes()
	}
	return sum
}

// takes is what the node occupies.
func (n *node) takes() int64 { return max(int64(len(n.data)), n.room) }

// apply performs op, which its caller has checked.
func (t *tree) apply(op crashOp) {
	switch op.kind {
	case opCreate, opMkdir:
		op.node = t.nextID
		t.nextID++
		n := &node{id: op.node, dir: op.kind == opMkdir}
		if n.dir {
			n.names, n.durable = map[string]int{}, map[string]int{}
		}
		t.nodes[op.node] = n
		t.applyName(op, volatileNames)
		t.pendingNames = append(t.pendingNames, op)
	case opRemove, opRename:
		if op.kind == opRemove {
			op.node = t.nodes[op.dir].names[op.name]
		}
		t.applyName(op, volatileNames)
		t.pendingNames = append(t.pendingNames, op)
	case opWrite, opTruncate:
		n := t.nodes[op.node]
		n.data = applyData(n.data, op)
		n.pending = append(n.pending, op)
	case opSync:
		t.nodes[op.node].sync()
	case opSyncDir:
		t.syncNames(func(o crashOp) bool { return o.dir == op.dir || o.kind == opRename && o.toDir == op.dir })
	case opSyncAll:
		for _, n := range t.nodes {
			n.sync()
		}
		t.syncNames(func(crashOp) bool { return true })
	case opFailWriteBack:
		for _, n := range t.nodes {
			n.lose()
		}
	}
}

// lose forgets what was written and not synced, but for its effect on the size.
func (n *node) lose() {
	for _, op := range n.pending {
		if end := op.off + int64(len(op.data)); op.kind == opTruncate || end > int64(len(n.synced)) {
			n.synced = applyData(n.synced, crashOp{kind: opTruncate, off: end})
		}
	}
	n.pending = nil
}

func (n *node) sync() {
	for _, op := range n.pending {
		n.synced = applyData(n.synced, op)
	}
	n.pending = nil
}

// syncNames makes the pending name operations durable that covered picks.
func (t *tree) syncNames(covered func(crashOp) bool) {
	rest := t.pendingNames[:0]
	for _, op := range t.pendingNames {
		if covered(op) {
			t.applyName(op, durableNames)
		} else {
			rest = append(rest, op)
		}
	}
	t.pendingNames = rest
}

func volatileNames(n *node) map[string]int { return n.names }
func durableNames(n *node) map[string]int  { return n.durable }

// applyName performs a name operation on the maps that which picks. Operations
// before it may have been lost, so it takes nothing for granted.
func (t *tree) applyName(op crashOp, which func(*node) map[string]int) {
	names := which(t.nodes[op.dir])
	switch op.kind {
	case opCreate, opMkdir:
		names[op.name] = op.node
	case opRemove:
		if names[op.name] == op.node {
			delete(names, op.name)
		}
	case opRename:
		if names[op.name] == op.node {
			delete(names, op.name)
		}
		which(t.nodes[op.toDir])[op.toName] = op.node
	}
}

// applyData returns the file's bytes after a write or truncation; it may reuse b.
func applyData(b []byte, op crashOp) []byte {
	end := op.off
	if op.kind == opWrite {
		end += int64(len(op.data))
	}
	if int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	if op.kind == opTruncate {
		return b[:op.off:op.off] // a later growth must not find old bytes behind the end
	}
	copy(b[op.off:], op.data)
	return b
}

// cut makes the tree that a power cut leaves; everything in it is durable.
func (t *tree) cut(c Cut, rng *rand.Rand) *tree {
	after := t.clone()
	for _, op := range pick(after.pendingNames, c.Names, rng) {
		after.applyName(op, durableNames)
	}
	after.pendingNames = nil
	for _, id := range slices.Sorted(maps.Keys(after.nodes)) { // in order, so that a seed repeats
		n := after.nodes[id]
		if n.dir {
			n.names = maps.Clone(n.durable)
			continue
		}
		n.synced = cutData(n.synced, n.pending, c.Data, rng)
		n.data, n.pending = slices.Clone(n.synced), nil
	}
	return after
}

// pick chooses the operations that survive.
func pick(ops []crashOp, fate Fate, rng *rand.Rand) []crashOp {
	switch {
	case fate == Keep || len(ops) == 0:
		return ops
	case fate == Lose:
		return nil
	case fate == Tear:
		return ops[:rng.IntN(len(ops)+1)]
	}
	var kept []crashOp
	for _, op := range ops {
		if rng.IntN(2) == 0 {
			kept = append(kept, op)
		}
	}
	return kept
}

// cutData applies what survives of the pending operations to the durable bytes.
func cutData(synced []byte, pending []crashOp, fate Fate, rng *rand.Rand) []byte {
	if fate == Keep || fate == Lose {
		for _, op := range pick(pending, fate, rng) {
			synced = applyData(synced, op)
		}
		return synced
	}
	if fate == Tear {
		kept := pick(pending, fate, rng)
		for i, op := range kept {
			if i == len(kept)-1 && op.kind == opWrite {
				op.data = op.data[:rng.IntN(len(op.data)+1)]
			}
			synced = applyData(synced, op)
		}
		return synced
	}
	for _, op := range pending {
		switch rng.IntN(4) {
		case 0: // lost
		case 1: // lost, but for its effect on the size
			if end := op.off + int64(len(op.data)); op.kind == opWrite && end > int64(len(synced)) {
				synced = applyData(synced, crashOp{kind: opTruncate, off: end})
			}
		case 2: // torn
			if op.kind == opWrite {
				op.data = op.data[:rng.IntN(len(op.data)+1)]
			}
			synced = applyData(synced, op)
		case 3:
			synced = applyData(synced, op)
		}
	}
	return synced
}

// lookup finds the node of a path.
func (t *tree) lookup(op, name string) (*node, error) {
	at := t.nodes[rootID]
	for _, part := range splitPath(name) {
		if !at.dir {
			return nil, pathError(op, name, syscall.ENOTDIR)
		}
		id, ok := at.names[part]
		if !ok {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
		at = t.nodes[id]
	}
	return at, nil
}

// parent finds the directory that holds, or would hold, the path.
func (t *tree) parent(op, name string) (dir *node, base string, err error) {
	parts := splitPath(name)
	if len(parts) == 0 {
		return nil, "", pathError(op, name, fs.ErrInvalid)
	}
	dir, err = t.lookup(op, strings.Join(parts[:len(parts)-1], "/"))
	if err != nil {
		return nil, "", pathError(op, name, fs.ErrNotExist)
	}
	if !dir.dir {
		return nil, "", pathError(op, name, syscall.ENOTDIR)
	}
	return dir, parts[len(parts)-1], nil
}

func splitPath(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '\\' })
}

func sortedNames(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}
