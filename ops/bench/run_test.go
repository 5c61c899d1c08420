package bench

import "testing"

func TestNothingIsSentAtTheNodeWhereItIsWatched(t *testing.T) {
	o := Options{SMTP: []string{"s0", "s1", "s2"}, IMAP: []string{"i0", "i1", "i2"}}
	count := map[string]int{}
	for client := range 64 {
		account := client % 16
		at, seen := o.sendAt(account, client/16), o.IMAP[o.watchAt(account)]
		if at[1:] == seen[1:] {
			t.Errorf("client %d of account %d sends at %s, which is watched at %s", client, account, at, seen)
		}
		count[at]++
	}
	for at, n := range count {
		if n < 19 || n > 24 {
			t.Errorf("%d of 64 clients send at %s", n, at)
		}
	}
	one := Options{SMTP: []string{"s0"}, IMAP: []string{"i0"}}
	if at := one.sendAt(5, 3); at != "s0" {
		t.Errorf("with one node, sends at %s", at)
	}
}
