package main

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/queue/route"
)

// RFC 5321 §5.1: mail must not go round. What a node hands to another of its site comes from nowhere.
func TestSelfIsTheWholeSite(t *testing.T) {
	members := []string{"192.0.2.1:7400", "192.0.2.2:7400", "n3.example.test:7400", "nonsense"}
	own := []string{"127.0.0.1/8", "192.0.2.1/24", "fe80::1/64", "nonsense"}
	addrs := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	alone, all := []string{"n1.example.test"}, []string{"n1.example.test", "n3.example.test"}
	for name, c := range map[string]struct {
		listener, advertise string
		want                route.Self
	}{
		"everywhere":                           {":25", "192.0.2.1:7400", route.Self{Names: all, Addrs: addrs("127.0.0.1", "192.0.2.1", "fe80::1", "192.0.2.1", "192.0.2.2")}},
		"everywhere, by an address":            {"[::]:25", "192.0.2.1:7400", route.Self{Names: all, Addrs: addrs("127.0.0.1", "192.0.2.1", "fe80::1", "192.0.2.1", "192.0.2.2")}},
		"where the members reach it":           {"192.0.2.1:25", "192.0.2.1:7400", route.Self{Names: all, Addrs: addrs("192.0.2.1", "192.0.2.1", "192.0.2.2")}},
		"where the members do not reach it":    {"198.51.100.1:25", "192.0.2.1:7400", route.Self{Names: alone, Addrs: addrs("198.51.100.1")}},
		"at another port than others' servers": {":2525", "192.0.2.1:7400", route.Self{Names: alone}},
		"nowhere":                              {"", "192.0.2.1:7400", route.Self{Names: alone}},
	} {
		cfg := &config.Config{Hostname: "n1.example.test", Listeners: config.Listeners{SMTP: c.listener}, Cluster: config.Cluster{Advertise: c.advertise}, Delivery: config.Delivery{Port: 25}}
		if got := siteOf(cfg, members, own); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
