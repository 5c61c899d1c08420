package net_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumail/quorumail/jepsen/net"
)

// cuts writes a plan of cuts as "a>b a>c", sorted.
func cuts(t *testing.T, p net.Plan) string {
	t.Helper()
	var all []string
	for link, rules := range p {
		if diff := cmp.Diff([]net.Rule{{Cut: true}}, rules); diff != "" {
			t.Errorf("%v: %s", link, diff)
		}
		all = append(all, link.From+">"+link.To)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestShapes(t *testing.T) {
	f := strings.Fields
	for _, tc := range []struct {
		name string
		plan net.Plan
		want string
	}{
		{"one way", net.OneWay(f("a b"), f("c")), "a>c b>c"},
		{"one way to itself", net.OneWay(f("a b"), f("b")), "a>b"},
		{"split", net.Split(f("a b"), f("c")), "a>c b>c c>a c>b"},
		{"split in three", net.Split(f("a"), f("b"), f("c")), "a>b a>c b>a b>c c>a c>b"},
		{"split of one group", net.Split(f("a b")), ""},
		{"bridge", net.Bridge(f("a"), "c", f("d")), "a>d d>a"},
		{"bridge named in the halves", net.Bridge(f("a c"), "c", f("c d")), "a>d d>a"},
		{"ring of five", net.Ring(f("a b c d e")), "a>c a>d b>d b>e c>a c>e d>a d>b e>b e>c"},
		{"ring of four", net.Ring(f("a b c d")), "a>c b>d c>a d>b"},
		{"ring of three", net.Ring(f("a b c")), ""},
		{"isolated", net.Isolate("a", f("a b clients"), net.Both), "a>b a>clients b>a clients>a"},
		{"deaf", net.Isolate("a", f("b c"), net.In), "b>a c>a"},
		{"dumb", net.Isolate("a", f("b c"), net.Out), "a>b a>c"},
	} {
		if got := cuts(t, tc.plan); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestPlansAreJoinedAndLimited(t *testing.T) {
	slow := net.Mesh([]string{"a", "b"}, net.Rule{Delay: time.Second})
	grey := net.OneWay([]string{"a"}, []string{"b"}).On(7400, 7401)
	want := net.Plan{
		{From: "a", To: "b"}: {{Delay: time.Second}, {Cut: true, Ports: []uint16{7400, 7401}}},
		{From: "b", To: "a"}: {{Delay: time.Second}},
	}
	if diff := cmp.Diff(want, net.Merge(slow, grey)); diff != "" {
		t.Error(diff)
	}
	if len(slow[net.Link{From: "a", To: "b"}]) != 1 {
		t.Error("joining changed a plan")
	}
}

func TestHalves(t *testing.T) {
	nodes := strings.Fields("a b c d e")
	draw := func(seed uint64, n int) (string, string) {
		major, minor := net.Halves(rand.New(rand.NewPCG(seed, 0)), nodes[:n])
		if len(major)+len(minor) != n || n > 0 && len(major) != n/2+1 {
			t.Errorf("%d nodes: %v and %v", n, major, minor)
		}
		all := slices.Concat(major, minor)
		if slices.Sort(all); !slices.Equal(all, nodes[:n]) {
			t.Errorf("%d nodes: %v and %v", n, major, minor)
		}
		return strings.Join(major, " "), strings.Join(minor, " ")
	}
	seen := map[string]bool{}
	for seed := range uint64(200) {
		major, minor := draw(seed, 5)
		if again, _ := draw(seed, 5); again != major {
			t.Errorf("seed %d: %s, then %s", seed, major, again)
		}
		for n := range strings.FieldsSeq(minor) {
			seen[n] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("only %v are ever in the minority", seen)
	}
	for n := range 5 {
		draw(1, n)
	}
}
