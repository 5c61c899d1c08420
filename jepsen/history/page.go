package history

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Judgement is what one checker says of a history.
type Judgement struct {
	Checker, Verdict, Why string
	Counts                map[string]int
	Figures               map[string]time.Duration
	Problems              []Problem
}

// Problem is one broken promise.
type Problem struct {
	Kind, Text string
	At         time.Duration
}

// Outage says how available the system was around one fault.
type Outage struct {
	Fault   Fault
	Longest time.Duration // without a successful write
	Failed  int           // operations that failed after they were tried again
}

// Report is what Page shows besides the history itself.
type Report struct {
	Judgements []Judgement
	Outages    []Outage
}

//go:embed page.html
var pageFiles embed.FS

// Page writes a run as one HTML file that needs no other: verdicts, violations, throughput and latency over time with the faults drawn over
// them, and what each fault did to the availability. Its size depends on the length of the run, not on the number of operations.
func Page(w io.Writer, h *History, r Report) error {
	t, err := template.New("page.html").Funcs(template.FuncMap{"sec": seconds, "ms": millis, "join": strings.Join}).ParseFS(pageFiles, "page.html")
	if err != nil {
		return fmt.Errorf("parse the page's template: %w", err)
	}
	if err := t.Execute(w, newPage(h, r)); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// page is what the template sees.
type page struct {
	Run        Run
	Verdict    string
	Ops        int
	Report     Report
	Charts     []chart
	Lanes      []lane
	LanesH     int
	Bands      []band // the faults
	Marks      []mark // the violations
	Ticks      []tick
	Width      int
	Left       int
	ChartH     int
	BucketText string
}

type chart struct {
	Title string
	Lines []polyline
	Rows  []tick // of the y axis
}

type polyline struct{ Name, Color, Points string }

type band struct {
	X, W, Y float64
	Title   string
}

type mark struct {
	X     float64
	Title string
}

type tick struct {
	At   float64
	Text string
}

// lane is a node with its faults.
type lane struct {
	Node string
	Mid  float64
	Bars []band
}

const (
	pageWidth = 1100
	pageLeft  = 70
	chartH    = 200
	laneH     = 18
)

func newPage(h *History, r Report) page {
	b := newBuckets(h)
	p := page{Run: h.Run, Verdict: verdict(r), Ops: len(h.Ops), Report: r, Width: pageWidth + pageLeft, Left: pageLeft, ChartH: chartH}
	p.BucketText = fmt.Sprintf("each point stands for %s", b.size)
	p.Charts = []chart{b.throughput(h), b.latency(h)}
	for _, f := range h.Faults {
		title := fmt.Sprintf("%s (%s), %s to %s %s", f.Name, strings.Join(f.Nodes, ", "), seconds(f.Start), seconds(f.End), f.Detail)
		p.Bands = append(p.Bands, band{X: b.x(f.Start), W: max(1, b.x(f.End-f.Start)), Title: title})
	}
	p.Lanes = lanes(h, p.Bands)
	p.LanesH = len(p.Lanes)*laneH + 4
	for _, j := range r.Judgements {
		for _, v := range j.Problems {
			p.Marks = append(p.Marks, mark{b.x(v.At), j.Checker + ": " + v.Kind})
		}
	}
	for i := range 11 {
		at := b.end / 10 * time.Duration(i)
		p.Ticks = append(p.Ticks, tick{b.x(at), seconds(at)})
	}
	return p
}

// verdict is the worst of all.
func verdict(r Report) string {
	order := []string{"nothing", "passed", "unknown", "failed"}
	worst := 0
	for _, j := range r.Judgements {
		worst = max(worst, slices.Index(order, j.Verdict))
	}
	return order[worst]
}

// lanes gives every node a place, and it its faults.
func lanes(h *History, bands []band) []lane {
	bars := map[string][]band{}
	for i := range h.Ops {
		if n := h.Ops[i].Node; n != "" && bars[n] == nil {
			bars[n] = []band{}
		}
	}
	for i, f := range h.Faults {
		for _, n := range f.Nodes {
			bars[n] = append(bars[n], bands[i])
		}
	}
	var ls []lane
	for _, n := range slices.Sorted(maps.Keys(bars)) {
		y := float64(len(ls) * laneH)
		for i := range bars[n] {
			bars[n][i].Y = y + 3
		}
		ls = append(ls, lane{n, y + laneH/2, bars[n]})
	}
	return ls
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
