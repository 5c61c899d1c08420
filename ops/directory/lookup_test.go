package directory

import (
	"testing"

	"github.com/quorumail/quorumail/ops/config"
)

// What was read of the settings is forgotten as soon as one changes, and each name has its own value.
func TestLookupFollowsChanges(t *testing.T) {
	d, _ := testDirectory(t, nil)
	name := config.QueuePerDestination.Name
	if got := config.QueuePerDestination.From(d.Lookup); got == 7 {
		t.Fatal("the default is the value of this test")
	}
	for _, value := range []string{"7", "8"} {
		must(t, d.SetSetting(t.Context(), name, value))
		if got, ok := d.Lookup(name); !ok || got != value {
			t.Errorf("%q, %v after it was set to %s", got, ok, value)
		}
	}
	if got, ok := d.Lookup(config.QueueMaxAge.Name); ok {
		t.Errorf("a setting that nobody set is %q", got)
	}
	must(t, d.ResetSetting(t.Context(), name))
	if got, ok := d.Lookup(name); ok {
		t.Errorf("%q after it got its default back", got)
	}
}
