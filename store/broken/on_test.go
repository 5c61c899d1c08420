//go:build broken

package broken

import (
	"slices"
	"strings"
	"testing"
)

func TestOnlyWhatIsNamedIsSwitchedOff(t *testing.T) {
	for _, named := range [][]Switch{nil, {Dedupe}, {BarrierNone, FsyncLog}} {
		var names []string
		for _, s := range named {
			names = append(names, string(s))
		}
		t.Setenv(variable, strings.Join(names, ","))
		for _, s := range All() {
			if On(s) != slices.Contains(named, s) {
				t.Errorf("with %q: %s is %v", names, s, On(s))
			}
		}
		if notice, err := Notice(); err != nil || !strings.HasPrefix(notice, "THIS BUILD IS DELIBERATELY BROKEN") || !strings.Contains(notice, strings.Join(names, ",")) {
			t.Errorf("with %q: %q, %v", names, notice, err)
		}
	}
}

func TestUnknownNameIsAnError(t *testing.T) {
	t.Setenv(variable, "dedupe,barier-none")
	if notice, err := Notice(); err == nil {
		t.Errorf("%q", notice)
	}
}
