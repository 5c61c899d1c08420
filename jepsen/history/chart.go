package history

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// buckets divide the time of a run, by whole seconds.
type buckets struct {
	size, end time.Duration
	n         int
}

// maxBuckets is about one for each point of a chart's width.
const maxBuckets = 1000

func newBuckets(h *History) buckets {
	b := buckets{size: time.Second, end: time.Second}
	for i := range h.Ops {
		b.end = max(b.end, h.Ops[i].Return)
	}
	for _, f := range h.Faults {
		b.end = max(b.end, f.End)
	}
	if wide := b.end / maxBuckets; wide > b.size {
		b.size = wide.Truncate(time.Second) + time.Second
	}
	b.n = int(b.end/b.size) + 1
	return b
}

// x is where a time stands in a chart.
func (b buckets) x(at time.Duration) float64 {
	return math.Round(10*pageWidth*float64(at)/float64(b.end)) / 10
}

func (b buckets) of(at time.Duration) int { return min(b.n-1, int(max(0, at)/b.size)) }

// points makes the text of an SVG polyline; y is from 0 at the bottom to 1 at the top, NaN where there is no point.
func (b buckets) points(y func(i int) float64) string {
	var s strings.Builder
	for i := range b.n {
		if v := y(i); !math.IsNaN(v) {
			fmt.Fprintf(&s, "%.1f,%.1f ", b.x(min(b.end, time.Duration(i)*b.size+b.size/2)), chartH*(1-min(1, max(0, v))))
		}
	}
	return strings.TrimSpace(s.String())
}

// palette is Okabe and Ito's, which the colour-blind can tell apart.
var palette = [...]string{"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a7a00", "#666666"}

// throughput draws the successful operations per second of every kind, and those that were not OK.
func (b buckets) throughput(h *History) chart {
	by := map[string][]int{}
	most := 1
	for i := range h.Ops {
		o := &h.Ops[i]
		name := string(o.Kind)
		if o.Outcome != OK {
			name = "(" + string(o.Outcome) + ")"
		}
		if by[name] == nil {
			by[name] = make([]int, b.n)
		}
		k := b.of(o.Return)
		by[name][k]++
		most = max(most, by[name][k])
	}
	c := chart{Title: "operations per second"}
	for i, name := range slices.Sorted(maps.Keys(by)) {
		counts := by[name]
		c.Lines = append(c.Lines, polyline{name, palette[i%len(palette)], b.points(func(i int) float64 { return float64(counts[i]) / float64(most) })})
	}
	for i := range 5 {
		c.Rows = append(c.Rows, tick{chartH * (1 - float64(i)/4), fmt.Sprintf("%.0f", float64(most)/b.size.Seconds()*float64(i)/4)})
	}
	return c
}

// The latency chart goes from 0.1 ms to 100 s.
const (
	fastest = 100 * time.Microsecond
	decades = 6
)

// latency draws quantiles of the times of all operations that are OK, on a logarithmic scale.
func (b buckets) latency(h *History) chart {
	times := make([][]time.Duration, b.n)
	for i := range h.Ops {
		if o := &h.Ops[i]; o.Outcome == OK {
			k := b.of(o.Return)
			times[k] = append(times[k], o.Return-o.Invoke)
		}
	}
	for _, ts := range times {
		slices.Sort(ts)
	}
	c := chart{Title: "latency"}
	for i, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"max", 1}} {
		c.Lines = append(c.Lines, polyline{q.name, palette[i], b.points(func(i int) float64 {
			n := len(times[i])
			if n == 0 {
				return math.NaN()
			}
			t := max(fastest, times[i][min(n-1, int(q.at*float64(n)))])
			return math.Log10(float64(t)/float64(fastest)) / decades
		})})
	}
	for i, text := range []string{"0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"} {
		c.Rows = append(c.Rows, tick{chartH * (1 - float64(i)/decades), text})
	}
	return c
}
