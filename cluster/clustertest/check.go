package clustertest

import (
	"errors"
	"fmt"
)

// Check waits until every running node holds everything that is committed, and compares: all hold the same commands in the same order;
// each acknowledged command is there, none twice, none that was refused for certain, and none that nobody proposed. No node may have ended
// itself.
func (c *Cluster) Check() error {
	c.mu.Lock()
	acked := len(c.acked)
	c.mu.Unlock()
	var longest []step
	var of string
	states := map[string][]step{}
	for _, m := range c.up() {
		machine, err := c.Barrier(m.name, patience)
		if err != nil {
			return fmt.Errorf("%s: barrier: %w", m.name, err)
		}
		got := machine.commands()
		states[m.name] = got
		if len(got) >= len(longest) {
			longest, of = got, m.name
		}
	}
	errs := []error{c.fatals()}
	for name, got := range states {
		for i := range got {
			if got[i].ID != longest[i].ID || got[i].Pos.Index != longest[i].Pos.Index {
				errs = append(errs, fmt.Errorf("%s and %s differ at place %d: %v, %v", name, of, i, got[i], longest[i]))
				break
			}
		}
		errs = append(errs, c.compare(name, got, acked))
	}
	return errors.Join(errs...)
}

func (c *Cluster) compare(name string, got []step, acked int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	found, times := 0, map[string]int{}
	for _, s := range got {
		times[s.ID]++
		if times[s.ID] == 2 {
			errs = append(errs, fmt.Errorf("%s holds %s twice", name, s.Text))
		}
		switch {
		case c.acked[s.ID] == s.Text:
			found++
		case c.denied[s.ID] == s.Text:
			errs = append(errs, fmt.Errorf("%s holds %s, which was refused", name, s.Text))
		case c.unsure[s.ID] != s.Text:
			errs = append(errs, fmt.Errorf("%s holds %s, which nobody proposed", name, s.Text))
		}
	}
	if found < acked {
		errs = append(errs, fmt.Errorf("%s holds %d of %d acknowledged commands", name, found, acked))
	}
	return errors.Join(errs...)
}

func (c *Cluster) fatals() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, m := range c.members {
		if m.fatal != nil {
			errs = append(errs, fmt.Errorf("%s ended itself: %w", m.name, m.fatal))
		}
	}
	return errors.Join(errs...)
}
