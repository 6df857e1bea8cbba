package stat

// A Column is one of the counters, an index into Counters.
type Column int

// The counters, named as in the kernel's struct ip_conntrack_stat. The file's
// first column, entries, is not among them: it is no counter but the present
// number of entries, repeated in each row.
const (
	ClashResolve  Column = iota // clashing entry resolved in favour of the one already there
	Found                       // lookups that hit, most of them in the search for a free source port
	New                         // always 0 in present kernels
	Invalid                     // packets that fit no entry
	Ignore                      // always 0 in present kernels
	Delete                      // always 0 in present kernels
	ChainTooLong                // entry refused because its hash chain is too long
	Insert                      // entries made by netlink; not the new connections
	InsertFailed                // entry refused at confirmation
	Drop                        // packets dropped: table full, no memory, clash
	EarlyDrop                   // unassured entries evicted to make room in a full table
	Error                       // packets, ICMP errors mostly, that were malformed
	ExpectNew                   // expectations made; like the next two not available over netlink
	ExpectCreate                // expectations made by helpers
	ExpectDelete                // expectations removed
	SearchRestart               // lookups begun again because a resize or a move interfered
	columns       int    = iota
)

// names holds the columns' names in the header of /proc/net/stat/nf_conntrack.
// Older kernels have other columns in the places of some (searched, delete_list).
var names = [columns]string{
	"clashres", "found", "new", "invalid", "ignore", "delete", "chainlength", "insert", "insert_failed",
	"drop", "early_drop", "icmp_error", "expect_new", "expect_create", "expect_delete", "search_restart",
}

// String is the counter's name in the header of /proc/net/stat/nf_conntrack.
func (c Column) String() string { return names[c] }

// Counters holds increments summed over the CPUs, by Column.
type Counters [columns]uint64

// row holds the counters of one CPU as the kernel has them.
type row [columns]uint32

// increments turns readings into increments.
type increments struct{ last []row }

// next returns what was counted since the previous call, zero at the first and
// whenever the number of rows changes. It keeps a copy of rows.
func (i *increments) next(rows []row) (sum Counters) {
	if len(rows) == len(i.last) {
		for cpu := range rows {
			for column, value := range rows[cpu] {
				sum[column] += uint64(value - i.last[cpu][column]) // modulo 2³²
			}
		}
	}
	i.last = append(i.last[:0], rows...)
	return sum
}
