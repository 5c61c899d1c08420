//go:build !broken

package broken

// On tells whether a safety measure is switched off: in this build never.
func On(Switch) bool { return false }

// Notice is what the program must say of itself before anything else: nothing, for this build is whole.
func Notice() (string, error) { return "", nil }
