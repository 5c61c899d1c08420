package tidy

// exceptions explains each finding that is right all the same. A path that ends in a slash is a folder with all below it. Text is a part of
// the finding's; "" is any.
var exceptions = []struct{ rule, path, text, reason string }{
	{"imports", "store/blob/", "store/kv", "the index of bodies is a local Pebble store, and kv is what opens one"},
	{"imports", "store/state/", "store/durable", "a restored checkpoint is put in place by a CURRENT file, which must be durable"},
	{"durable", "jepsen/", "", "a file system renames when it is told to, and the tool keeps nothing that must outlast a loss of power"},
	{"context", "store/state/", "", "Apply cannot be cancelled: half a batch is no state"},
}
