package bench

import (
	"math/rand/v2"
	"sync"
)

// aheadBytes is how much of all messages together is made before a measurement begins: making one takes as long as a tenth of what a server
// needs to deliver it, on processors that both share. What a longer run needs is made on the way.
const aheadBytes = 256 << 20

// source gives one client's messages, one after the other. It is for one goroutine.
type source struct {
	make  func() []byte
	ready [][]byte
}

func (s *source) next() []byte {
	if len(s.ready) == 0 {
		return s.make()
	}
	m := s.ready[0]
	s.ready[0], s.ready = nil, s.ready[1:]
	return m
}

// plan is what all clients together send.
type plan struct {
	clients, messages, sizeBytes int
	aheadBytes                   int // of all messages together, made before they are asked for
	seed                         uint64
	route                        func(client, seq int) (from, to string)
}

// sources makes a source for each client. Client i sends the messages i, i+clients, and so on.
func (p plan) sources() []*source {
	all := make([]*source, p.clients)
	ahead := min(p.messages, p.aheadBytes/p.sizeBytes)
	var wg sync.WaitGroup
	for i := range all {
		r, seq := rand.New(rand.NewPCG(p.seed, uint64(i)+1)), i
		s := &source{make: func() []byte {
			from, to := p.route(i, seq)
			m := message(r, from, to, seq, p.sizeBytes)
			seq += p.clients
			return m
		}}
		all[i] = s
		wg.Go(func() {
			for seq < ahead {
				s.ready = append(s.ready, s.make())
			}
		})
	}
	wg.Wait()
	return all
}
