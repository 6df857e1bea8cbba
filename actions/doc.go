// Package actions does changes to the kernel, takes them back, and settles
// what a crash has left half done.
//
// What holds:
//
//   - Nothing is written to the kernel before the intent is on the disk.
//   - Nothing is written over a value that is neither the one the change
//     expects nor its own: somebody else owns it then, and the change yields.
//   - settle is the only judge of what a change has come to. The live path
//     ends in it and recovery begins with it, so being killed anywhere leads
//     where not being killed leads.
//   - Open changes on one key form a stack. Only the newest is compared with
//     the kernel; they are taken back newest first; when the newest is lost to
//     somebody else, those below it are lost on that key, too.
//   - A lease ends by itself, in the kernel: a change whose lease reads none is undone,
//     not lost. No undo makes a lease, and none is made anew after its time: only what
//     somebody took away before that is restored, and not for ever: whoever takes it
//     away again and again is yielded to.
//   - A value that is gone for good, with its network namespace, is neither ours
//     nor anybody's: a change of such values alone is void.
//   - While the ledger can't be written nothing new is done. Taking back goes
//     on: what it has come to is kept in memory and recorded as soon as the
//     ledger can be written again.
//
// The way through the package, one file each:
//
//	target.go    what a change may be made to
//	executor.go  the executor and its view of the changes
//	do.go        a new change
//	undo.go      taking back, the stack, yielding
//	recover.go   all open changes at once
//	settle.go    what a change has come to
//	sysctl.go    the target of the conntrack sysctls
//	timeout.go   the target of the timeouts, which each namespace has of its own
//	renew.go     prolonging what open changes hold by leases
//	lease.go     a lease as an edit of the ledger, and back
//	leases.go    the targets of leases; leaseplace.go, leaserenew.go, leasetaken.go: in a namespace
//
// What a change of timeouts means to the entries that exist is the package entries'.
package actions
