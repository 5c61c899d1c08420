package directory

import (
	"testing"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store/storepb"
)

// BenchmarkAuthenticate compares, in one run and with the costs that passwords have by default, a login whose password is remembered with
// one whose password is hashed. The log of this node agrees with itself at once, so that what is measured is this node's own work.
func BenchmarkAuthenticate(b *testing.B) {
	for _, bc := range []struct{ name, remember string }{{"remembered", "5m"}, {"hashed", "0s"}} {
		b.Run(bc.name, func(b *testing.B) {
			n := newNode(b)
			d, err := New(Config{Store: n})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := n.Propose(b.Context(), func(c *storepb.Command) {
				c.Op = &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: config.AuthRememberLogins.Name, Value: bc.remember}}
			}); err != nil {
				b.Fatal(err)
			}
			if err := d.CreateDomain(b.Context(), "example.test", DomainChange{}); err != nil {
				b.Fatal(err)
			}
			if _, err := d.CreateAccount(b.Context(), "alice@example.test", "alice's secret", AccountChange{}); err != nil {
				b.Fatal(err)
			}
			login := func() {
				if _, err := d.Authenticate(b.Context(), somewhere, "alice@example.test", "alice's secret"); err != nil {
					b.Error(err)
				}
			}
			login()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					login()
				}
			})
		})
	}
}
