package server

import "iter"

// ring is the requests of one connection in order of arrival: [head, started) are in flight, being
// handled or parked or answered and not yet encoded; [started, tail) are read and wait for their turn.
// It grows as needed; its owner bounds it.
type ring struct {
	slots               []*Request // a power of two of them
	head, started, tail uint32
}

func (q *ring) at(i uint32) *Request { return q.slots[i&uint32(len(q.slots)-1)] }

// len returns the number of requests.
func (q *ring) len() int { return int(q.tail - q.head) }

// oldest returns the oldest request in flight, or nil.
func (q *ring) oldest() *Request {
	if q.head == q.started {
		return nil
	}
	return q.at(q.head)
}

// next returns the oldest request that has not been started, or nil.
func (q *ring) next() *Request {
	if q.started == q.tail {
		return nil
	}
	return q.at(q.started)
}

// push adds a request at the tail.
func (q *ring) push(r *Request) {
	if q.len() == len(q.slots) {
		grown := make([]*Request, max(4, 2*len(q.slots)))
		for i := q.head; i != q.tail; i++ {
			grown[i&uint32(len(grown)-1)] = q.at(i)
		}
		q.slots = grown
	}
	q.slots[q.tail&uint32(len(q.slots)-1)] = r
	q.tail++
}

// pop removes the oldest request in flight.
func (q *ring) pop() {
	q.slots[q.head&uint32(len(q.slots)-1)] = nil
	q.head++
}

// drain empties the ring and yields what was in it.
func (q *ring) drain() iter.Seq[*Request] {
	return func(yield func(*Request) bool) {
		for i := q.head; i != q.tail; i++ {
			if !yield(q.at(i)) {
				break
			}
		}
		*q = ring{}
	}
}
