package directory

import (
	"fmt"
	"sync"
	"testing"
)

// Two administrators at two nodes change different fields of one account in the same moments: neither sets the other's back.
func TestConcurrentChangesOfOneAccountKeepEachOther(t *testing.T) {
	d, n := testDirectory(t, nil)
	other, err := New(Config{Store: n})
	must(t, err)
	const address, changes = "alice@example.test", 30
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i <= changes; i++ {
			if err := d.SetAccount(t.Context(), address, AccountChange{Name: ptr(fmt.Sprintf("Alice %d", i))}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for i := int64(1); i <= changes; i++ {
			if err := other.SetAccount(t.Context(), address, AccountChange{QuotaBytes: &i}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	a, err := d.Account(t.Context(), address)
	if err != nil || a.Name != fmt.Sprintf("Alice %d", changes) || a.QuotaBytes != changes {
		t.Errorf("%+v, %v", a, err)
	}
}
