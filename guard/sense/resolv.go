package sense

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// resolvLimit is how much of a resolv.conf is read, in bytes. The C library takes
// three name servers of it.
const resolvLimit = 64 << 10

// resolved are the addresses that systemd-resolved answers on.
var resolved = [...]netip.Addr{
	netip.AddrFrom4([4]byte{127, 0, 0, 53}), netip.AddrFrom4([4]byte{127, 0, 0, 54}),
}

func isResolved(a netip.Addr) bool { return a == resolved[0] || a == resolved[1] }

// readServers reads the name servers of a resolv.conf(5). After an error it returns
// those that are in what could be read.
func readServers(path string) ([]netip.Addr, error) {
	text, err := readSome(path, resolvLimit)
	servers, unclear := parseServers(text)
	if err := errors.Join(err, unclear); err != nil {
		return servers, fmt.Errorf("read %s: %w", path, err)
	}
	return servers, nil
}

// readSome reads the lines of a file that begin and end within so many bytes. If there
// are more, that is an error.
func readSome(path string, limit int) ([]byte, error) {
	// O_NONBLOCK: a FIFO in its place must not hang us.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is told by the caller
	}
	defer f.Close()
	if at, err := f.Stat(); err != nil || !at.Mode().IsRegular() {
		return nil, errors.Join(errors.New("not a regular file"), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if len(text) > limit {
		text = text[:bytes.LastIndexByte(text[:limit], '\n')+1]
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return text, err
}

// parseServers parses a resolv.conf. A name server that is no address is an error, and
// so is it if there is something, but nothing that such a file has.
func parseServers(text []byte) (servers []netip.Addr, err error) {
	var failed []error
	known, unknown := 0, 0
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#' || words[0][0] == ';':
		case words[0] == "nameserver":
			known++
			addr, err := server(words[1:])
			if err != nil {
				failed = append(failed, fmt.Errorf("line %d: %w", number, err))
				continue
			}
			servers = append(servers, addr)
		case words[0] == "domain" || words[0] == "search" || words[0] == "sortlist" || words[0] == "options":
			known++
		default:
			unknown++
		}
	}
	if known == 0 && unknown > 0 {
		failed = append(failed, errors.New("it has nothing that a resolv.conf has"))
	}
	return servers, errors.Join(failed[:min(len(failed), 3)]...) // more say no more
}

// server parses what follows the word nameserver. The C library, too, looks no further
// than the address.
func server(words []string) (netip.Addr, error) {
	if len(words) == 0 {
		return netip.Addr{}, errors.New("a name server without an address")
	}
	addr, err := netip.ParseAddr(words[0])
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%.60q is not the address of a name server", words[0])
	}
	return addr.Unmap().WithZone(""), nil
}
