package net

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Link is one direction between two ends.
type Link struct{ From, To string }

// Plan is what becomes of links: the rules of each. Plans are values: what makes or joins them changes no other.
type Plan map[Link][]Rule

// Between gives every link that leads from one of the first to one of the second the same rules.
func Between(from, to []string, rules ...Rule) Plan {
	p := Plan{}
	for _, f := range from {
		for _, t := range to {
			if f != t {
				p[Link{f, t}] = slices.Clone(rules)
			}
		}
	}
	return p
}

// Mesh gives every link among the ends the same rules, in both directions.
func Mesh(ends []string, rules ...Rule) Plan { return Between(ends, ends, rules...) }

// OneWay cuts what goes from the first to the second; the other direction is left alone.
func OneWay(from, to []string) Plan { return Between(from, to, Rule{Cut: true}) }

// Split parts the groups from each other. An end that is in none of them (such as the clients') still reaches all.
func Split(groups ...[]string) Plan {
	p := Plan{}
	for i, a := range groups {
		for j, b := range groups {
			if i != j {
				maps.Copy(p, OneWay(a, b))
			}
		}
	}
	return p
}

// Bridge parts two halves, with one node between that both still reach.
func Bridge(left []string, middle string, right []string) Plan {
	without := func(ends []string) []string {
		return slices.DeleteFunc(slices.Clone(ends), func(e string) bool { return e == middle })
	}
	return Split(without(left), without(right))
}

// Ring lets each node reach only the one before and the one after it in the list, which is closed. With five, each still sees a majority,
// and no two the same one; with three or fewer nothing is cut.
func Ring(nodes []string) Plan {
	p := Plan{}
	for i, from := range nodes {
		for j, to := range nodes {
			if d := (i - j + len(nodes)) % len(nodes); d > 1 && d < len(nodes)-1 {
				p[Link{from, to}] = []Rule{{Cut: true}}
			}
		}
	}
	return p
}

// Direction is which way an isolated node is cut off.
type Direction int

const (
	Both Direction = iota // it neither hears nor is heard
	In                    // it hears nobody
	Out                   // nobody hears it
)

// Isolate cuts one node off from others. Clients are cut off only when they are among the others.
func Isolate(node string, others []string, d Direction) Plan {
	var in, out Plan
	if d != Out {
		in = OneWay(others, []string{node})
	}
	if d != In {
		out = OneWay([]string{node}, others)
	}
	return Merge(in, out)
}

// Merge joins plans: a link has the rules of all of them, one after the other.
func Merge(plans ...Plan) Plan {
	all := Plan{}
	for _, p := range plans {
		for link, rules := range p {
			all[link] = append(slices.Clone(all[link]), rules...)
		}
	}
	return all
}

// On limits all rules of a plan to some TCP and UDP ports: a grey failure.
func (p Plan) On(ports ...uint16) Plan {
	limited := Plan{}
	for link, rules := range p {
		for _, r := range rules {
			r.Ports = slices.Clone(ports)
			limited[link] = append(limited[link], r)
		}
	}
	return limited
}

// Halves draws a majority and the minority that is left, in random order. It does not change the list.
func Halves(rng *rand.Rand, nodes []string) (majority, minority []string) {
	drawn := slices.Clone(nodes)
	rng.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	n := len(drawn)/2 + 1
	if len(drawn) == 0 {
		return nil, nil
	}
	return drawn[:n:n], drawn[n:]
}
