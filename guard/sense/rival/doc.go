// Package rival names who may have written a value of ours, or taken away an nft
// table.
//
// The kernel does not say who writes a sysctl or deletes a table, so all that can be
// had is circumstantial: a file that sets the value found, a program that runs here and
// is known to write it. What holds:
//
//   - Nothing is changed, and nothing is asked but files of /etc, /run, /usr, /proc
//     and /sys.
//   - What can't be read is left out; that is no error.
//   - A search reads up to 4,096 processes and 1,000 files of up to 64 KiB and is over
//     after 100 ms: it returns what it has found until then.
//   - Of a process its name and number are told, never its command line, in which
//     there may be secrets.
//
// The way through the package, one file each:
//
//	suspect.go    the search and its sentence
//	drift.go      what was found changed, in the words of the files that set it
//	root.go       bounded reading of files
//	process.go    what runs
//	sysctld.go    the files that sysctl --system and systemd-sysctl apply
//	script.go     other files that name the key: cron, rc.local, ufw and the like
//	tuned.go      the profile that tuned has in force
//	kubeproxy.go  what kube-proxy writes when it starts
//	module.go     a module that was loaded anew
//	table.go      who removes tables of nftables
package rival
