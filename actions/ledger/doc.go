// Package ledger is the write-ahead record of every change the guardian makes
// to the kernel.
//
// What holds:
//
//   - A record counts only once it is on the disk: an append returns after
//     fdatasync, and the view in memory moves only then.
//   - Every line carries its own checksum. A last line that is not whole is a
//     write cut short and is cut off (and kept aside), unless it is the first,
//     too; anything else wrong is damage, and a damaged ledger is refused, not
//     repaired.
//   - One process holds the ledger at a time, by a lock on the state directory
//     (flock) that ends with it. So the directory must be on a local file
//     system, and who may read it can keep the daemon out: give it mode 0750.
//   - The directory may belong to a user who is trusted with less than we are.
//     Nothing outside it is touched, whatever is put there, and what root
//     writes there is given to its owner.
//   - The file is only ever replaced whole: temporary file, fsync, rename,
//     fsync of the directory. Being killed at any point is harmless.
//   - The identifier of a recorded change is never given twice, also after old
//     changes have been dropped.
//   - A change keeps the time at which it was made (Made) and what the walks for
//     it came to, summed up (Walk), through every state and compaction.
//   - After a sync has failed the file is replaced, never synced again.
//
// The file is ledger.jsonl: eight hexadecimal digits of CRC-32C, a space, one
// JSON record, a newline. The first record names the format.
//
// A Ledger is for one goroutine.
package ledger
