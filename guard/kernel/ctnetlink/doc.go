// Package ctnetlink reads the connection-tracking table as ctnetlink dumps it:
// one receive buffer, attributes parsed in place, one Entry that is filled again
// and again. A walk allocates a few times at its start and never again, however
// large the table.
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
package ctnetlink
