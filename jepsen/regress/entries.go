package regress

import "time"

// All are the bugs that were found, the latest one last.
func All() []Entry {
	return []Entry{
		{
			Name: "short lease",
			What: "Leaders stepped down although all nodes were well: on a busy machine followers were held up for 130 to 190 ms, the lease was half the heartbeat " +
				"timeout, 125 ms, and everybody waited for an election, in every second rolling restart (ADR 0004).",
			Args:   []string{"--workload=deliver", "--nemesis=rolling restart", "--repeats=8", "--hold=1s", "--quiet=0.5", "--processes=4", "--accounts=8", "--seed=411"},
			Broken: "ac77dd3", Fixed: "e5c02f3", MedianGap: 330 * time.Millisecond,
		},
		{
			Name: "stood still",
			What: "A node that had been stopped (SIGSTOP, a moved virtual machine) for more than three seconds while it wrote its log took its disk for hanging, " +
				"and ended when it went on: the watch went by the clock alone.",
			Args: []string{"--workload=deliver", "--nemesis=pause leader", "--repeats=4", "--hold=6s", "--quiet=0", "--processes=12", "--accounts=16",
				"--disk=ext4", "--seed=5331"}, // a real disk's fsync takes long enough for a write to be under way
			Broken: "8117761", Fixed: "b46df66", NoEnds: true,
		},
		{
			Name: "closed store",
			What: "A node that was stopped on a busy machine now and then ended with \"panic: pebble: closed\": a peer connected in that moment, and whether it may " +
				"was looked up in a store that had been closed.",
			Args:   []string{"--workload=deliver", "--nemesis=rolling restart", "--repeats=15", "--hold=200ms", "--quiet=0", "--processes=6", "--accounts=8", "--seed=1636"},
			Broken: "8692e92", Fixed: "81d7666",
		},
		{
			Name: "future mail",
			What: "Mail that was accepted while a node's clock was ahead was not shown in lists of what waits, nor tried again when an administrator asked for it, until " +
				"that time had come. It could be missed then, too, for five minutes; and what came by a clock that was wrong by weeks waited for weeks.",
			Args:   []string{"--workload=queue-remote,deliver", "--nemesis=clock strobes", "--repeats=6", "--hold=3s", "--processes=4", "--seed=7741"},
			Broken: "ee84202", Fixed: "1c8bc03",
		},
	}
}
