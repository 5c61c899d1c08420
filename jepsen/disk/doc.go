// Package disk is where a node's data folder lives, and what can happen to it: the power goes, the disk fails, hangs, is slow or full, bits rot.
//
// Kinds of volumes:
//
//   - Plain is an ordinary folder. Nothing can happen to it but rot.
//   - FaultFS is package faultfs: it forgets what was not synced, and is the only kind whose operations can be made to fail.
//   - Ext4 and XFS are real file systems on a loop device over an image file. Cut is the ioctl FS_IOC_SHUTDOWN without a flush of the journal:
//     the file system stops at once, and what its journal and the fsyncs did not bring to the device is lost, as it is with real power.
//
// # Data flow
//
// New makes a volume in a folder of its own; Mount makes its data folder usable. When the power is to go: Cut (or CutAll) while the program
// lives, kill the program, Restore. Restore without Cut cuts first. Faults (Inject, Fill) belong to the disk, and outlive mounts: they end
// when undone or healed. Rot hurts the files at rest, which Content gives; the program must be down.
//
// # Goroutines
//
// Those of faultfs, ended by Unmount, Restore and Close; CutAll waits for its own.
package disk
