package state

// counts counts numbers that come mostly in long rows, at about four bytes each. The zero value is ready.
type counts struct{ of map[uint64]*[countsRow]uint32 }

const countsRow = 512

// add counts a number, and returns how often it was.
func (c *counts) add(n uint64) uint32 {
	if c.of == nil {
		c.of = map[uint64]*[countsRow]uint32{}
	}
	row := c.of[n/countsRow]
	if row == nil {
		row = &[countsRow]uint32{}
		c.of[n/countsRow] = row
	}
	row[n%countsRow]++
	return row[n%countsRow]
}

// take returns how often a number was counted, and forgets it.
func (c *counts) take(n uint64) uint32 {
	row := c.of[n/countsRow]
	if row == nil {
		return 0
	}
	was := row[n%countsRow]
	row[n%countsRow] = 0
	return was
}

// each calls f for each number that was counted and not taken.
func (c *counts) each(f func(n uint64)) {
	for first, row := range c.of {
		for i, n := range row {
			if n > 0 {
				f(first*countsRow + uint64(i))
			}
		}
	}
}
