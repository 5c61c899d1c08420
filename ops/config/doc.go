// Package config knows what can be configured: the one small file of each node, and the settings that the whole cluster shares.
//
// Data flow: [Load] reads a TOML file and answers with a [Config] that is complete and checked, or with [Errors], each naming the line,
// what is wrong and what would be right. The table in fields.go is the only list of keys: reading, checking, "did you mean" and the
// commented file of [Defaults] all come from it. [Settings] lists what is replicated instead and changed with "quorumail set"; this
// package knows names, types, ranges and defaults, package store/state keeps the values.
//
// [Check] looks in addition at what the file names on this machine: certificate, data folder, ports. A setting stands in the list only when
// the program reads it. Those that the replicated state itself reads, such as quotas, are named by package store.
//
// There are no goroutines, and nothing is written.
package config
