package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// again turns the arguments of a run into options; the program and the folder come from now.
func again(args []string, now options) (options, error) {
	var o options
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.flags(f)
	if len(args) == 0 {
		return options{}, errors.New("nothing says how the run was made")
	}
	if err := f.Parse(args); err != nil {
		return options{}, fmt.Errorf("read the arguments of the run, %q: %w", args, err)
	}
	if o.own.cluster != "" {
		return options{}, errors.New("it was a run on a cluster of your own: repeat it with jepsen run --cluster, and your faults")
	}
	o.bin, o.oldBin, o.out, o.verbose = now.bin, now.oldBin, now.out, now.verbose
	return o, nil
}
