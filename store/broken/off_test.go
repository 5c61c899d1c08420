//go:build !broken

package broken

import "testing"

func TestNothingBreaksAWholeBuild(t *testing.T) {
	for _, s := range All() {
		t.Setenv("QUORUMAIL_BROKEN", string(s))
		if notice, err := Notice(); On(s) || notice != "" || err != nil {
			t.Errorf("%s: %v, %q, %v", s, On(s), notice, err)
		}
	}
}
