package nemesis

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/site"
)

// nameServerFaults spoil what the nodes are told of where mail goes. Their names say "name servers": no node is harmed.
func nameServerFaults() []Fault {
	return []Fault{
		onNameServer("name servers are silent", lab.DNSFault{Silent: true}),
		onNameServer("name servers fail", lab.DNSFault{Code: dns.RcodeServerFailure}),
		onNameServer("name servers refuse", lab.DNSFault{Code: dns.RcodeRefused}),
		onNameServer("name servers are lame", lab.DNSFault{Lame: true}),
		onNameServer("name servers know nothing", lab.DNSFault{Code: dns.RcodeNameError}), // senders are told that the domain does not exist
		onNameServer("name servers are slow", lab.DNSFault{Delay: 2 * time.Second}),
		onNameServer("name servers want TCP", lab.DNSFault{Truncate: true}),
	}
}

func onNameServer(name string, f lab.DNSFault) Fault {
	return Fault{Name: name, Family: "dns", Inject: func(_ context.Context, t *Target) (Done, error) {
		if t.DNS == nil {
			return Done{}, fmt.Errorf("%w: there is no name server", ErrNotHere)
		}
		t.DNS.Fail(f)
		return Done{Undo: func(context.Context) error { t.DNS.Fail(lab.DNSFault{}); return nil }}, nil
	}}
}

// siteFaults spoil the servers that mail is sent to. Their names say "site": no node is harmed.
func siteFaults() []Fault {
	return []Fault{
		onSites("sites are down", func(*Target) site.Fault { return site.Fault{Down: true} }),
		onSites("sites are busy", func(*Target) site.Fault { return site.Fault{Busy: true} }),
		onSites("sites do not answer the data", func(t *Target) site.Fault { return site.Fault{Mute: 0.2 + 0.8*t.Rand.Float64()} }),
		onSites("sites are slow", func(t *Target) site.Fault { return site.Fault{Delay: t.upTo(3000)} }),
	}
}

// onSites spoils one of the sites, or all.
func onSites(name string, draw func(*Target) site.Fault) Fault {
	return Fault{Name: name, Family: "sites", Inject: func(_ context.Context, t *Target) (Done, error) {
		if len(t.Sites) == 0 {
			return Done{}, fmt.Errorf("%w: there are no sites", ErrNotHere)
		}
		hit := t.Sites
		if t.Rand.IntN(2) == 0 {
			i := t.Rand.IntN(len(hit))
			hit = hit[i : i+1]
		}
		f := draw(t)
		d := Done{Detail: fmt.Sprintf("%+v at", f), Undo: func(context.Context) error {
			for _, s := range hit {
				s.Fail(site.Fault{})
			}
			return nil
		}}
		for _, s := range hit {
			s.Fail(f)
			d.Detail += " " + s.Name()
		}
		return d, nil
	}}
}

const ownerKilledName = "owner killed after a site's 250"

// ownerWait is how long the owner of a message is waited for: with work, one is sent much sooner.
const ownerWait = 10 * time.Second

// ownerKilled kills a node in the moment in which another site has answered 250 to it, so that it may not record that: another node must send the
// message once more, or know.
func ownerKilled(ctx context.Context, t *Target) (Done, error) {
	if len(t.Sites) == 0 {
		return Done{}, fmt.Errorf("%w: there are no sites", ErrNotHere)
	}
	hit := make(chan *db.Node, 1)
	var once sync.Once
	kill := func(from string) {
		if n, err := t.Cluster.Node(from); err == nil {
			once.Do(func() { n.Shoot(); hit <- n })
		}
	}
	defer func() {
		for _, s := range t.Sites {
			s.OnTaken(nil)
		}
	}()
	for _, s := range t.Sites {
		s.OnTaken(kill)
	}
	ctx, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	select {
	case n := <-hit:
		n.Kill() // waits until it is gone
		return Done{Nodes: nameList([]*db.Node{n})}, nil
	case <-ctx.Done():
		return Done{}, fmt.Errorf("nothing came to a site in %v", ownerWait)
	}
}
