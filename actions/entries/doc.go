// Package entries walks the connection-tracking table once after a change of
// timeouts, and treats each entry as if the new timeout had always been in force:
// it deletes those whose time would be over, and gives the others what they would
// have left. A sysctl alone changes no entry that exists.
// Loosen is for entries that a bypass has left behind.
//
// What holds:
//
//   - No entry is deleted that is younger than the new timeout, and none ends
//     sooner than it would have under that timeout. The kernel does not tell how old
//     an entry is, only how many seconds it has left. So its age is the least that
//     is consistent with any timeout that can have given it those: those in force
//     lately, by the ledger, and those that TCP uses besides.
//   - An entry that none of them explains has somebody else's timeout, and is left
//     alone. So are those that are offloaded, that have a fixed timeout, that are
//     of a class which is not in the change, established connections without
//     the opt-in, and those that are held by somebody besides the table: by a living
//     child whose master they are, or by a packet under way (CTA_USE). Each kind is
//     counted. Older kernels hold the entry that a datagram begins with themselves
//     (ctnetlink_dump_table before Linux 6.17): one in twenty is then left alone.
//   - A walk must be on record (Walking) before it may change the time of entries:
//     after a kill nothing else tells that what they have left is not what a packet
//     gave them.
//   - An entry is deleted by its tuple and id: a tuple that is another connection's by
//     then is not killed. Since one that is freed and made again for the same tuple may
//     have the same id, entries are received some at a time, and dealt with before the
//     next are asked for. No budget makes a walk sleep for more than some milliseconds
//     in between, while those that come next are there already.
//   - The timeouts of the change are ours when a walk begins, and still when it changes
//     entries: once somebody else has written one, it ends (ErrTaken).
//   - A resize of the hash table loses entries from a dump: the walk begins again,
//     three times at most. Whatever ends it, the result says what was done, and that
//     it is not done.
//   - Walking twice is walking once.
//
// What does not hold, since nothing in an entry tells it from a longer silence:
//
//   - A timeout policy of somebody's (nfct_timeout) that is shorter than the sysctl, and
//     the time that a helper gives a connection it follows.
//   - What somebody else had set a timeout to shortly before our change. The ledger knows
//     only what the change found: an entry that has its time from a shorter value than
//     that looks older than it is. Whoever decides on changes keeps off timeouts that
//     others are seen to write.
//   - Time in suspend: the boot clock counts it; jiffies, by which entries end, stand
//     still. A timeout that was in force before may then be taken for one that no entry
//     can have its time from any more.
package entries
