//go:build broken

package broken

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// variable is where the names of what is switched off stand, with commas between.
const variable = "QUORUMAIL_BROKEN"

// On tells whether a safety measure is switched off.
func On(s Switch) bool { return slices.Contains(strings.Split(os.Getenv(variable), ","), string(s)) }

// Notice is what the program must say of itself before anything else; an error for a name that is none, which would break nothing, and be
// taken for proof.
func Notice() (string, error) {
	names := os.Getenv(variable)
	if names == "" {
		return "THIS BUILD IS DELIBERATELY BROKEN, though " + variable + " switches nothing off now: never keep mail with it", nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(All(), Switch(name)) {
			return "", fmt.Errorf("%s names %q, which is none of %v", variable, name, All())
		}
	}
	return "THIS BUILD IS DELIBERATELY BROKEN: " + names, nil
}
