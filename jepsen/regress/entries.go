package regress

// All are the bugs that were found, the latest one last.
func All() []Entry {
	return []Entry{
		{
			Name: "stood still",
			What: "A node that had been stopped (SIGSTOP, a moved virtual machine) for more than three seconds while it wrote its log took its disk for hanging, " +
				"and ended when it went on: the watch went by the clock alone.",
			Args: []string{"--workload=deliver", "--nemesis=pause leader", "--repeats=4", "--hold=6s", "--quiet=0", "--processes=12", "--accounts=16",
				"--disk=ext4", "--seed=5331"}, // a real disk's fsync takes long enough for a write to be under way
			Broken: "8117761", Fixed: "b46df66", NoEnds: true,
		},
	}
}
