package server

import (
	"github.com/qanat-io/qanat/wire"
)

// request is an exchange in its connection's queue.
//
// It is not pooled: parts far away hold on to exchanges, and a second Reply to a request that had become another's would
// answer the wrong one. A new one each time makes that a panic instead, for the price of one small allocation.
type request struct {
	exchange wire.Exchange
	conn     *conn
	frame    *wire.Frame // what exchange.Request aliases; nil if nothing
	charge   int64       // bytes that count against the bounds until the answer
	size     int         // of the frame
	flexible bool
	began    int64 // on the server's clock

	// Guarded by the connection's lock.
	next      *request
	answered  bool
	heavy     bool // the answer is for a goroutine of its own to write
	abandoned bool // an answer, should it come, is ignored
	hurried   bool
	hurry     func()

	reply wire.Reply // written before answered
	sent  int        // bytes of the answer; the writer's
}

// enqueue puts a request behind all others, and hurries the one before it: older ones have been hurried by that.
func (c *conn) enqueue(x *request) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	var hurry func()
	if c.tail == nil {
		c.head = x
	} else {
		hurry = c.tail.hurryLocked()
		c.tail.next = x
	}
	c.tail = x
	c.inFlight++
	c.mu.Unlock()
	if hurry != nil {
		hurry()
	}
	return true
}

// hurryLocked marks the request hurried and returns what is to be called, without the lock.
func (x *request) hurryLocked() func() {
	if x.hurried || x.answered {
		return nil
	}
	x.hurried = true
	f := x.hurry
	x.hurry = nil
	return f
}

// OnHurry implements wire.Owner.
func (x *request) OnHurry(_ *wire.Exchange, f func()) {
	c := x.conn
	c.mu.Lock()
	if x.answered {
		c.mu.Unlock()
		return
	}
	late := x.hurried || x.next != nil || c.draining
	if late {
		x.hurried = true
	} else {
		x.hurry = f
	}
	c.mu.Unlock()
	if late {
		f()
	}
}

// Finish implements wire.Owner: the answer is here. The frame and its bytes are given back at once; the answer itself
// leaves when those before it have, and whoever brings the one that all others wait for writes them.
func (x *request) Finish(_ *wire.Exchange, reply wire.Reply) {
	c := x.conn
	if t := x.exchange.Trace; t != nil {
		t.Answered = t.Since()
		t.Fail(failure(reply.Message))
	}
	inline := c.mayWrite(x, &reply) // now: the connection may end, and the answer be let go of, as soon as others see it
	c.mu.Lock()
	if x.abandoned {
		c.mu.Unlock()
		if reply.Fetch != nil {
			reply.Fetch.Release()
		}
		return
	}
	if x.answered {
		c.mu.Unlock()
		panic("server: a request was answered twice")
	}
	x.reply, x.answered, x.heavy, x.hurry = reply, true, !inline, nil
	c.bytes -= x.charge
	if x.charge > 0 {
		c.wakeLocked()
	}
	if reply.Mute > 0 {
		c.mutedUntil = max(c.mutedUntil, c.server.now()+int64(reply.Mute))
	}
	closed := c.closed
	write := !closed && !c.writing && c.head == x
	if write {
		c.writing = true
	}
	crowded := c.inFlight >= crowd
	c.mu.Unlock()

	x.free()
	switch {
	case closed:
		x.dropAnswer()
	case !write:
	case inline && !crowded:
		c.flush(false)
	default:
		c.handOver()
	}
}

// crowd is how many requests of one connection let the answer to the first of them wait for a goroutine of its own to
// write it: whoever answers is likely to answer the others in the same breath, and they go out in one write. More than
// producers have in flight, whose answers should not wait for a goroutine.
const crowd = 8

// mayWrite tells whether the caller of Reply may write this answer itself. What has to be copied out of a file, or could
// wait for a disk, is not for a goroutine that others wait for; the connection's own reader may, as it would be idle.
func (c *conn) mayWrite(x *request, reply *wire.Reply) bool {
	const little = 64 << 10
	if c.raw == nil {
		return false
	}
	if reply.Fetch == nil || c.handling.Load() == x {
		return true
	}
	n := 0
	for i := range reply.Fetch.Topics {
		for j := range reply.Fetch.Topics[i].Partitions {
			n += reply.Fetch.Topics[i].Partitions[j].Records.Len()
		}
	}
	return n <= little
}

// free gives back what the request holds besides its answer.
func (x *request) free() {
	if x.frame != nil {
		x.frame.Release()
		x.frame = nil
	}
	wire.Recycle(x.exchange.Request)
	x.exchange.Request = nil
	x.conn.server.budgets.of(x.charge).release(x.charge)
}

// abandon gives up a request that cannot be answered. Its frame is left to whoever may still look at it.
func (x *request) abandon() {
	c := x.conn
	c.mu.Lock()
	done := x.answered || x.abandoned
	if !done {
		x.abandoned = true
		c.bytes -= x.charge
	}
	c.mu.Unlock()
	if done {
		return
	}
	if x.frame != nil {
		x.frame.Leave()
	}
	c.server.budgets.of(x.charge).release(x.charge)
}

// dropAnswer lets go of an answer that will not be sent.
func (x *request) dropAnswer() {
	if x.reply.Fetch != nil {
		x.reply.Fetch.Release()
	}
	x.reply = wire.Reply{}
}
