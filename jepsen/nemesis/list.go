package nemesis

import (
	"fmt"
	"slices"
	"strings"
)

// All is every fault that there is.
func All() []Fault {
	return slices.Concat(processFaults(), powerFaults(), networkFaults(), diskFaults(), rotFaults(), clockFaults(), resourceFaults(), memberFaults(), upgradeFaults(), aimedFaults(), nameServerFaults(), siteFaults())
}

// sets are names for several faults.
var sets = map[string][]string{
	"none":      {},
	"kill":      {"kill one", "kill leader", "kill two", "kill all", "kill again and again"},
	"pause":     {"pause one", "pause leader"},
	"power":     {"power loss of one", "power loss of the leader", "power loss of all", "power loss of a minority behind a partition"},
	"partition": {"halves", "bridge", "ring", "one way", "isolate leader", "isolate leader from peers", "isolate one"},
	"drain":     {"restart one", "restart leader", "rolling restart"},
	"clock":     {"clock jumps", "clock jumps by days", "clock strobes", "clock drifts"},
	"resources": {"CPU starved", "memory limited", "few file descriptors", "CPU of leader starved"},
	"rot":       {"rot in log", "rot in state", "rot in bodies", "rot in next leader"},
	"aimed":     {"pause leader until deposed", "snapshot sender killed", "log loses its end", "power loss of all and a disk lost", "laggard must lead", ownerKilledName},
	"dns":       {"name servers are silent", "name servers fail", "name servers refuse", "name servers are lame", "name servers know nothing", "name servers are slow", "name servers want TCP"},
	"sites":     {"sites are down", "sites are busy", "sites do not answer the data", "sites are slow", ownerKilledName},
	"disk": {"leader's log hangs", "leader's disk hangs", "fsync of leader's log fails", "fsync of the state fails", "fsync of the bodies fails", "writes fail", "reads of bodies fail",
		"no space at all", "slow disk", "reads of bodies get bits wrong", "disk full on one", "disk full on all"},
	"network": {"leader hears nobody", "nobody hears leader", "lossy", "jitter", "slow network", "slow follower", "slow clients", "grey: no Raft", "grey: no gossip", "flapping links"},
	"upgrade": {"upgrade or downgrade one", "rolling downgrade and upgrade"},
	"member":  {"wipe and replace", "join and leave", "kill during join"},
}

// Names lists the faults and the sets of faults.
func Names() (faults, groups []string) {
	for _, f := range All() {
		faults = append(faults, f.Name)
	}
	for name := range sets {
		groups = append(groups, name)
	}
	slices.Sort(groups)
	return faults, append([]string{"all"}, groups...)
}

// Parse finds faults by a list such as "kill,halves,clock jumps"; "all" is all of them.
func Parse(list string) ([]Fault, error) {
	byName := map[string]Fault{}
	for _, f := range All() {
		byName[f.Name] = f
	}
	var out []Fault
	add := func(name string) error {
		f, ok := byName[name]
		if !ok {
			faults, groups := Names()
			return fmt.Errorf("there is no fault %q: choose of %s, or of the groups %s", name, strings.Join(faults, ", "), strings.Join(groups, ", "))
		}
		if !slices.ContainsFunc(out, func(o Fault) bool { return o.Name == f.Name }) {
			out = append(out, f)
		}
		return nil
	}
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		members, isSet := sets[name]
		switch {
		case name == "all":
			members = nil
			for _, f := range All() {
				members = append(members, f.Name)
			}
		case name == "":
			continue
		case !isSet:
			members = []string{name}
		}
		for _, m := range members {
			if err := add(m); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
