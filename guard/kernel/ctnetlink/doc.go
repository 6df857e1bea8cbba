// Package ctnetlink reads the connection-tracking table as ctnetlink dumps it, and
// deletes single entries, changes the time that they have left, or has TCP's windows
// not checked.
//
// A walk has one receive buffer, parses attributes in place, and fills one Entry
// again and again. It allocates a few times at its start and never again, however
// large the table. A Batch patches messages together and allocates for its longest.
//
// What holds:
//
//   - An entry is handed on whole or not at all. A message that is cut short, has
//     an attribute of the wrong size or beyond its nest, an attribute twice, or
//     lacks one that the kernel never leaves out, ends the walk with an error that
//     names it. Attributes that this package has no use for are skipped.
//   - Only messages count that the kernel itself sent, to this socket, in answer
//     to this walk's request.
//   - The dump is complete only when the kernel says so (NLMSG_DONE). A kernel
//     that falls silent, runs out of memory, or reports an inconsistent dump is an
//     error, and so is a message that does not fit the buffer.
//   - Every entry handed on matches the query. The kernel filters what it can, but
//     older ones ignore filters they don't know, so each entry is compared again.
//   - A resize of the hash table during a dump loses entries without a trace
//     (NLM_F_DUMP_INTR is not set): that is for the caller to notice, by the
//     number of buckets before and after. An entry that goes away just where one
//     message ends makes the kernel begin its bucket again, so an entry may, if
//     rarely, come twice.
//   - A delete names the tuple, the zone and the id of one entry, or the tuple's
//     parts of which all entries are meant. Without a tuple it would empty the
//     table: one function, makeDelete, makes deletes of messages, and looks at
//     their bytes first.
//   - Each change of a Batch is counted as done, gone or refused, or it is said that
//     the count is lost.
package ctnetlink
