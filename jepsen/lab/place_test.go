package lab_test

import (
	"fmt"
	"testing"

	"github.com/quorumail/quorumail/jepsen/lab"
)

// Places besides the nodes have addresses of their own, are no nodes, and there are not too many.
func TestAddPlace(t *testing.T) {
	for name, kind := range map[string]lab.Namespaces{"namespaces": lab.Always, "loopback": lab.Never} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 2, kind)
			seen := map[string]bool{l.Address("n1"): true, l.Address("n2"): true, l.Address(lab.Clients): true}
			if err := l.AddPlace("n1"); err == nil {
				t.Error("a place has the name of a node")
			}
			for i := range lab.MaxPlaces {
				site := fmt.Sprint("site", i)
				if err := l.AddPlace(site); err != nil {
					t.Fatal(err)
				}
				if a := l.Address(site); a == "" || seen[a] {
					t.Errorf("%s is at %q", site, a)
				} else {
					seen[a] = true
				}
			}
			if err := l.AddPlace("one more"); err == nil {
				t.Error("there is room for ever more")
			}
			if len(l.Names()) != 2 {
				t.Errorf("nodes are %q", l.Names())
			}
			s, err := l.Listen(deadline(t), "site3", "tcp", l.Address("site3")+":2500")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			c, err := l.DialFrom(deadline(t), "n1", "tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		})
	}
}
