package nemesis

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/site"
)

// Where there are no sites and no name server, their faults are left out.
func TestSiteFaultsNeedSites(t *testing.T) {
	faults := slices.Concat(nameServerFaults(), siteFaults(), []Fault{{Name: ownerKilledName, Inject: ownerKilled}})
	for _, f := range faults {
		if _, err := f.Inject(t.Context(), &Target{Rand: rand.New(rand.NewPCG(1, 1))}); !errors.Is(err, ErrNotHere) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

// Each fault of the name server changes what a question gets, until it is undone.
func TestNameServerFaults(t *testing.T) {
	l, err := lab.New(lab.Config{Nodes: 1, Namespaces: lab.Never})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := l.StartDNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetRecords("x.test. 1 IN MX 10 mx.x.test."); err != nil {
		t.Fatal(err)
	}
	well := func() bool {
		c := dns.Client{Timeout: 300 * time.Millisecond}
		got, _, err := c.Exchange(new(dns.Msg).SetQuestion("x.test.", dns.TypeMX), d.Address())
		return err == nil && got.Rcode == dns.RcodeSuccess && len(got.Answer) == 1 && !got.Truncated
	}
	for _, f := range nameServerFaults() {
		done, err := f.Inject(t.Context(), &Target{DNS: d})
		if err != nil {
			t.Fatal(err)
		}
		if well() {
			t.Errorf("%s: nothing is wrong", f.Name)
		}
		if err := done.Undo(t.Context()); err != nil || !well() {
			t.Errorf("%s: it does not end: %v", f.Name, err)
		}
	}
}

// Faults of sites hit one or all, and end. A site that is down ends connections; the others greet.
func TestSiteFaults(t *testing.T) {
	target := &Target{Rand: rand.New(rand.NewPCG(3, 3)), Logger: slog.New(slog.DiscardHandler)}
	var addresses []string
	for _, name := range []string{"site1", "site2"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := site.Start(site.Config{Name: name, Listener: l, History: history.NewRecorder(nil, history.Run{})})
		defer s.Close()
		target.Sites, addresses = append(target.Sites, s), append(addresses, l.Addr().String())
	}
	up := func() (n int) {
		for _, a := range addresses {
			c, err := net.DialTimeout("tcp", a, time.Second)
			if err != nil {
				continue
			}
			line := make([]byte, 3)
			if _, err := io.ReadFull(c, line); err == nil && string(line) == "220" {
				n++
			}
			_ = c.Close()
		}
		return n
	}
	hit := map[string]int{}
	for range 20 {
		for _, f := range siteFaults() {
			done, err := f.Inject(t.Context(), target)
			if err != nil || done.Undo == nil {
				t.Fatal(f.Name, err)
			}
			if len(done.Nodes) > 0 || !strings.Contains(f.Name, "site") {
				t.Errorf("%s harms no node, and must not excuse anything: %+v", f.Name, done)
			}
			if f.Name == "sites are down" {
				hit[done.Detail[strings.Index(done.Detail, " at ")+4:]]++
				if n := up(); n != 2-strings.Count(done.Detail, "site") {
					t.Errorf("%d sites are up with %q", n, done.Detail)
				}
			}
			if err := done.Undo(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if up() != 2 || len(hit) != 3 {
		t.Errorf("%d sites are up in the end; hit were %v", up(), hit)
	}
}
