package main

import (
	"os"
	"strconv"
	"strings"
)

const (
	slabPath   = "/proc/slabinfo" // root's alone
	modulePath = "/sys/module/nf_conntrack"
)

// extensionBytes is what the kernel allocates for an entry's extensions, NAT's among them,
// beside the entry itself (NF_CT_EXT_PREALLOC, nf_ct_ext_add). Measured on Linux 6.18:
// each entry, translated or not, takes one of kmalloc-128 and 256 bytes of its own slab.
const extensionBytes = 128

// entryBytes is the kernel memory of one entry with its extensions: what the pages of the
// slab are divided by. It is 0 where that can't be read.
func entryBytes(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		// name, active objects, objects, bytes of one, objects in a slab, pages of a slab
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != "nf_conntrack" {
			continue
		}
		perSlab, _ := strconv.Atoi(f[4])
		pages, _ := strconv.Atoi(f[5])
		if perSlab < 1 || pages < 1 {
			return 0
		}
		return pages*os.Getpagesize()/perSlab + extensionBytes
	}
	return 0
}

// builtIn reports whether conntrack is part of the kernel itself: such a module is never
// loaded, so it has no state of that, and no options.
func builtIn(module string) bool {
	if _, err := os.Stat(module); err != nil {
		return false
	}
	_, err := os.Stat(module + "/initstate")
	return os.IsNotExist(err)
}
