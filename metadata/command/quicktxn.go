package command

import (
	"math"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Transactions by hand; see quick.go.

// transactionSize is about what a body takes.
func transactionSize(t *Transaction) int {
	n := 96 + len(t.ID) + 32*len(t.Partitions)
	for _, g := range t.Groups {
		n += 5 + len(g)
	}
	return n
}

// count is how many of several are so.
func count(so ...bool) (n uint64) {
	for _, yes := range so {
		if yes {
			n++
		}
	}
	return n
}

// quickTransaction appends a body of PutTransaction.
func quickTransaction(b []byte, c PutTransaction) []byte {
	t := &c.Transaction
	b = appendHead(b, majorMap, 1+count(c.Coordinator != 0))
	b = appendHead(append(b, 1), majorMap, 10+count(len(t.Partitions) > 0, len(t.Groups) > 0, t.StartedMs != 0, t.Version != 0))
	b = appendText(append(b, 1), t.ID)
	b = appendHead(append(b, 2), majorUint, t.Revision)
	b = appendInt(append(b, 3), int64(t.Producer))
	b = appendInt(append(b, 4), int64(t.Epoch))
	b = appendInt(append(b, 5), int64(t.LastProducer))
	b = appendInt(append(b, 6), int64(t.LastEpoch))
	b = appendHead(append(b, 7), majorUint, uint64(t.State))
	b = appendInt(append(b, 8), int64(t.TimeoutMs))
	if len(t.Partitions) > 0 {
		b = appendHead(append(b, 9), majorArray, uint64(len(t.Partitions)))
		for i := range t.Partitions {
			b = quickPartition(b, &t.Partitions[i])
		}
	}
	if len(t.Groups) > 0 {
		b = appendHead(append(b, 10), majorArray, uint64(len(t.Groups)))
		for _, g := range t.Groups {
			b = appendText(b, g)
		}
	}
	if t.StartedMs != 0 {
		b = appendInt(append(b, 11), t.StartedMs)
	}
	b = appendInt(append(b, 12), t.ChangedMs)
	if t.Version != 0 {
		b = appendHead(append(b, 13), majorUint, uint64(t.Version))
	}
	b = appendInt(append(b, 14), int64(t.Next))
	if c.Coordinator != 0 {
		b = appendInt(append(b, 2), int64(c.Coordinator))
	}
	return b
}

// quickTxnCommit appends a body of CommitTxnOffsets.
func quickTxnCommit(b []byte, c CommitTxnOffsets) []byte {
	b = appendHead(b, majorMap, 5+count(c.Coordinator != 0))
	b = appendText(append(b, 1), c.Group)
	b = appendText(append(b, 2), c.ID)
	b = appendInt(append(b, 3), int64(c.Producer))
	b = appendInt(append(b, 4), int64(c.Epoch))
	b = quickOffsets(append(b, 5), c.Offsets)
	if c.Coordinator != 0 {
		b = appendInt(append(b, 6), int64(c.Coordinator))
	}
	return b
}

// decodeTransaction reads a body of PutTransaction.
func decodeTransaction(body []byte) (Command, error) {
	r := reader{b: body}
	if c := r.putTransaction(); r.all() {
		return c, nil
	}
	return decode[PutTransaction](body)
}

// decodeTxnCommit reads a body of CommitTxnOffsets.
func decodeTxnCommit(body []byte) (Command, error) {
	r := reader{b: body}
	if c := r.txnCommit(); r.all() {
		return c, nil
	}
	return decode[CommitTxnOffsets](body)
}

// fields are those of a map that were not read yet.
type fields int

func (r *reader) fields() fields { return fields(r.count(majorMap)) }

// has reads the number of a field, if it is there.
func (r *reader) has(n byte, left *fields) bool {
	if r.bad || *left == 0 || !r.next(n) {
		return false
	}
	r.at++
	*left--
	return true
}

// must reads the number of a field that is always there.
func (r *reader) must(n byte, left *fields) {
	if !r.has(n, left) {
		r.bad = true
	}
}

// none makes sure that nothing is left.
func (r *reader) none(left fields) { r.bad = r.bad || left != 0 }

func (r *reader) producer() kafka.ProducerID { return kafka.ProducerID(r.int()) }

func (r *reader) producerEpoch() kafka.ProducerEpoch {
	return kafka.ProducerEpoch(r.within(math.MinInt16, math.MaxInt16))
}

func (r *reader) coordinatorEpoch() kafka.CoordinatorEpoch {
	return kafka.CoordinatorEpoch(r.within(math.MinInt32, math.MaxInt32))
}

func (r *reader) putTransaction() (c PutTransaction) {
	left := r.fields()
	r.must(1, &left)
	r.transaction(&c.Transaction)
	if r.has(2, &left) {
		c.Coordinator = r.coordinatorEpoch()
	}
	r.none(left)
	return c
}

func (r *reader) transaction(t *Transaction) {
	left := r.fields()
	r.must(1, &left)
	t.ID = r.text()
	r.must(2, &left)
	t.Revision = r.head(majorUint)
	r.must(3, &left)
	t.Producer = r.producer()
	r.must(4, &left)
	t.Epoch = r.producerEpoch()
	r.must(5, &left)
	t.LastProducer = r.producer()
	r.must(6, &left)
	t.LastEpoch = r.producerEpoch()
	r.must(7, &left)
	t.State = TxnState(r.within(0, math.MaxUint8))
	r.must(8, &left)
	t.TimeoutMs = int32(r.within(math.MinInt32, math.MaxInt32))
	if r.has(9, &left) {
		t.Partitions = make([]kafka.Partition, r.count(majorArray))
		for i := range t.Partitions {
			r.partition(&t.Partitions[i])
		}
	}
	if r.has(10, &left) {
		t.Groups = make([]string, r.count(majorArray))
		for i := range t.Groups {
			t.Groups[i] = r.text()
		}
	}
	if r.has(11, &left) {
		t.StartedMs = r.int()
	}
	r.must(12, &left)
	t.ChangedMs = r.int()
	if r.has(13, &left) {
		t.Version = uint8(r.within(0, math.MaxUint8))
	}
	r.must(14, &left)
	t.Next = r.producer()
	r.none(left)
}

func (r *reader) txnCommit() (c CommitTxnOffsets) {
	left := r.fields()
	r.must(1, &left)
	c.Group = r.text()
	r.must(2, &left)
	c.ID = r.text()
	r.must(3, &left)
	c.Producer = r.producer()
	r.must(4, &left)
	c.Epoch = r.producerEpoch()
	r.must(5, &left)
	c.Offsets = r.offsets()
	if r.has(6, &left) {
		c.Coordinator = r.coordinatorEpoch()
	}
	r.none(left)
	return c
}
