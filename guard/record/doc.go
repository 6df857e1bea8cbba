// Package record is the flight record: what the guardian read, thought and did, so
// that an incident can be looked at, and decided again, when it is long over.
//
// What holds:
//
//   - A step comes back as it was: the snapshot equal, floats to the bit, the decisions
//     to the letter. Fed to policy.Decide from the state that a segment begins with, the
//     snapshots give the same decisions.
//   - The loop never waits for the disk. Add encodes into memory, and allocates nothing
//     while the table is calm; a goroutine writes at once, and syncs every ten seconds.
//     So a killed process loses what it was just about to write, and a power cut the last
//     seconds.
//   - The record is a ring of segments, each of which can be read without the others. The
//     oldest go first, and with what is frozen of episodes all of it stays in the size
//     that was given.
//   - A disk that is full or fails costs readings, which are counted, and nothing else.
//     What keeps the file of an episode from being written costs the ring nothing: the file
//     is caught up from it.
//   - A file is never repaired but at its end: a frame cut short there is cut off.
//     Damage elsewhere costs the segment that it is in.
//   - What is read is not trusted. Lengths are bounded before anything is allocated, so
//     is how much damage is passed over, and an error says at which offset of which file.
//
// A segment is the eight bytes of magic, then frames: the length of the payload as a
// varint, CRC-32C of the payload (little endian), the payload. The first byte of a payload
// is its kind: S begins a segment (JSON: header), R is a reading (see reading.go), and
// in the file of an episode E is its summary and V the values of sysctls. A kind in lower
// case is deflated behind that byte. A length is never 0, so magic can't be taken for one.
// An episode's file is frames E and V and whole segments, one after the other.
package record
