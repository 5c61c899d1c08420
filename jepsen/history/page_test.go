package history

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// run is a small history with a fault.
func run() *History {
	h := &History{Run: Run{Seed: 4711, Workload: []string{"deliver"}, Nemesis: []string{"kill"}, Nodes: 3, Time: time.Minute, Args: []string{"-seed", "4711"}}}
	for i := range 600 {
		end := time.Duration(i) * 100 * time.Millisecond
		o := Op{Kind: Deliver, Node: fmt.Sprint("n", i%3), Invoke: end, Return: end + 20*time.Millisecond, Outcome: OK}
		if i%100 == 0 {
			o.Outcome = Unknown
		}
		h.Ops = append(h.Ops, o)
	}
	h.Faults = []Fault{{Name: "kill leader", Nodes: []string{"n1"}, Start: 10 * time.Second, End: 15 * time.Second, Detail: "<b>&\"now\""}}
	return h
}

func report() Report {
	return Report{
		Judgements: []Judgement{{Checker: "deliver", Verdict: "failed", Counts: map[string]int{"lost": 1}, Figures: map[string]time.Duration{"visible p99": time.Millisecond},
			Problems: []Problem{{Kind: "lost", Text: `u/INBOX: <script>alert("m1")</script>`, At: 20 * time.Second}}},
			{Checker: "imap", Verdict: "passed"}, {Checker: "linearizable", Verdict: "unknown", Why: "ran out of time"}},
		Outages: []Outage{{Fault: run().Faults[0], Longest: 1234 * time.Millisecond, Failed: 7}},
	}
}

// elements reads a page as XML, which its HTML happens to be, and counts the elements by name and class.
func elements(t *testing.T, page []byte) map[string]int {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Entity = xml.HTMLEntity
	n := map[string]int{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
		if s, ok := tok.(xml.StartElement); ok {
			n[s.Name.Local]++
			for _, a := range s.Attr {
				if a.Name.Local == "class" {
					n[s.Name.Local+"."+a.Value]++
				}
			}
		}
	}
}

func TestPageShowsWhatHappened(t *testing.T) {
	var page bytes.Buffer
	if err := Page(&page, run(), report()); err != nil {
		t.Fatal(err)
	}
	n := elements(t, page.Bytes())
	// A fault lies over both charts, and in the lane of its node.
	if n["h1.failed"] != 1 || n["rect.fault"] != 2 || n["rect.bar"] != 1 || n["line.violation"] != 2 || n["polyline.curve"] != 5 || n["script"] != 0 || n["link"] != 0 {
		t.Errorf("elements: %v", n)
	}
	for _, want := range []string{"4711", "jepsen run -seed 4711", "kill leader", "1234.0 ms", "ran out of time", "lost", "&lt;script&gt;alert(", "n2"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if strings.Contains(page.String(), "http") || strings.Contains(page.String(), "ZgotmplZ") {
		t.Error("the page needs something from elsewhere, or the template refused a value")
	}
}

func TestPageOfNothing(t *testing.T) {
	var page bytes.Buffer
	if err := Page(&page, &History{}, Report{}); err != nil {
		t.Fatal(err)
	}
	if n := elements(t, page.Bytes()); n["h1.passed"] != 0 || n["h1.nothing"] != 1 {
		t.Errorf("nothing was checked, and the title says something else: %v", n)
	}
}

// TestPageOfMillionOperations: the page's size is that of the time, not of the operations.
func TestPageOfMillionOperations(t *testing.T) {
	h := &History{}
	for i := range 1_000_000 {
		end := time.Duration(i) * 4 * time.Millisecond
		h.Ops = append(h.Ops, Op{Kind: Append, Node: "n1", Invoke: end - time.Duration(i%1000)*time.Microsecond, Return: end, Outcome: OK})
	}
	var page bytes.Buffer
	if err := Page(&page, h, Report{}); err != nil {
		t.Fatal(err)
	}
	elements(t, page.Bytes())
	if page.Len() > 300_000 {
		t.Errorf("the page has %d bytes", page.Len())
	}
}

// TestChartsAreToScale: a second in which every operation took 10 ms is a third of the way up from 0.1 ms to 100 s.
func TestChartsAreToScale(t *testing.T) {
	h := &History{}
	for i := range 10 {
		h.Ops = append(h.Ops, Op{Kind: Deliver, Invoke: time.Duration(i) * time.Millisecond, Return: time.Duration(i+10) * time.Millisecond, Outcome: OK})
	}
	h.Ops = append(h.Ops, Op{Kind: Read, Invoke: 1900 * time.Millisecond, Return: 2 * time.Second, Outcome: OK})
	b := newBuckets(h)
	if b.n != 3 || b.size != time.Second {
		t.Fatalf("%d buckets of %s", b.n, b.size)
	}
	// 200 points high, 1100 wide for two seconds: the bucket's middle is at 275, and 2 of 6 decades are 133.3 from the top.
	if got, _, _ := strings.Cut(b.latency(h).Lines[0].Points, " "); got != "275.0,133.3" {
		t.Errorf("the first point is %s", got)
	}
	if got, _, _ := strings.Cut(b.throughput(h).Lines[0].Points, " "); got != "275.0,0.0" {
		t.Errorf("the first point is %s", got)
	}
}
