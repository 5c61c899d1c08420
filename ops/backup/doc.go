// Package backup copies a cluster's whole state into a folder, keeps that copy up to date, verifies it, and makes a new cluster of it
// (condition B8).
//
// # Data flow
//
//	Take     hold sweeps in the cluster ─► the state's checkpoint into state-… (fsynced) ─► every body it refers to that the folder does
//	         not have, from one node, or through it from a holder, into the body store (fsynced) ─► every reference has its body, each new
//	         one read back and compared with its digest ─► the hold never lapsed ─► manifest.json, last ─► what is no longer referred to goes
//	Verify   manifest ─► the checkpoint's digest ─► every body's digest, and that there is one for each reference
//	Restore  a verified folder ─► the bodies, then the state, into an empty data folder ─► the state of another cluster with one member to be
//
// Until manifest.json is replaced, the folder holds the backup that it held before, whole: a Take that dies has only added bodies, and
// the next one does not copy these again.
//
// # The folder
//
//	manifest.json        what the rest must be, with its own checksum
//	state-INDEX-RANDOM   a checkpoint, as store/state streams it
//	bodies/              a body store (store/blob)
//
// # Goroutines
//
// Take has one that renews the hold; it has ended when Take returns.
package backup
