package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

const (
	baseline = 65536  // nf_conntrack_max during these tests
	ceiling  = 262144 // that the policy approves
	patience = 20 * time.Second
)

// A site is a real gateway whose table can be filled and emptied, with the
// machine's nf_conntrack_max held at the baseline.
type site struct {
	*testing.T
	gateway *lab.Gateway
	hold    *lab.MaxHold
	dir     string
}

func newSite(t *testing.T) *site { return newSiteWith(t, lab.Options{}) }

func newSiteWith(t *testing.T, opts lab.Options) *site { return newSiteOf(t, baseline, opts) }

// newSiteOf makes one with another nf_conntrack_max.
func newSiteOf(t *testing.T, limit int, opts lab.Options) *site {
	t.Helper()
	hold, err := lab.Lower(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := hold.Release(); err != nil {
			t.Error(err)
		}
	})
	g, err := lab.NewGateway(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{T: t, gateway: g, hold: hold, dir: t.TempDir()}
	t.Setenv("RUNTIME_DIRECTORY", s.dir) // of the control socket
	s.write("guardian.toml", fmt.Sprintf(`version = 1
mode = "act"
namespace = %q
[watch]
window = "2s"
calm = "1s"
[raise_max]
ceiling = %d
hold = "2s"
check = "1s"
`, g.Router.Path(), ceiling))
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// fill brings the table to n entries more.
func (s *site) fill(n int) {
	s.Helper()
	r, err := s.gateway.Fill(s.Context(), lab.Entries{
		Count: n, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 10 * time.Minute, Sources: 100,
	})
	if err != nil || r.Created != n {
		s.Fatalf("filled %d of %d: %v %v", r.Created, n, r.Failed, err)
	}
}

// settle waits until the chains are short. All namespaces share the hash table, and
// the entries of one that is gone are freed some seconds later.
func (s *site) settle() {
	s.Helper()
	const some = 30_000
	mix := lab.Entries{Count: some, Proto: unix.IPPROTO_TCP, State: lab.SynSent, Timeout: time.Minute, Sources: 100}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		r, err := s.gateway.Fill(s.Context(), mix)
		s.empty()
		if r.Created == some {
			return
		}
		if err != nil || time.Now().After(end) {
			s.Fatalf("entries are refused: %v, %v", r.Failed, err)
		}
	}
}

// empty takes all entries out of the gateway's table.
func (s *site) empty() {
	s.Helper()
	err := s.gateway.Router.Do(func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		return errors.Join(c.Flush(), c.Close())
	})
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) sizes() lab.Sizes {
	s.Helper()
	sizes, err := lab.ReadSizes()
	if err != nil {
		s.Fatal(err)
	}
	return sizes
}

func (s *site) max() int     { return s.sizes().Max }
func (s *site) buckets() int { return s.sizes().Buckets }

// until waits for something to come true.
func (s *site) until(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("not within %s: %s (nf_conntrack_max is %d)", patience, what, s.max())
		}
	}
}

func (s *site) changes() []ledger.Change {
	s.Helper()
	changes, err := ledger.Read(s.path("state"))
	if err != nil {
		s.Fatal(err)
	}
	return changes
}

// command runs a sub-command on the site's ledger and returns its exit code.
func (s *site) command(args ...string) (code int, stdout, stderr string) {
	s.Helper()
	var out, errs bytes.Buffer
	code = execute(append(args, "--state-dir", s.path("state")), &out, &errs)
	return code, out.String(), errs.String()
}

// A daemon is a running conntrack-guardian.
type daemon struct {
	*site
	cmd *exec.Cmd
	log output
}

// output may be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the daemon and waits until it says that it is ready.
func (s *site) start() *daemon {
	s.Helper()
	socket := s.path("notify")
	if err := os.RemoveAll(socket); err != nil {
		s.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	d := &daemon{site: s}
	d.cmd = exec.Command("conntrack-guardian", "run", "--policy", s.path("guardian.toml"), "--state-dir", s.path("state"))
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	d.cmd.Stderr = &d.log
	if err := d.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		if s.Failed() {
			s.Logf("the daemon's log:\n%s", d.log.String())
		}
	})
	buf := make([]byte, 4096)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			s.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			s.Fatalf("the daemon did not become ready: %v\n%s", err, d.log.String())
		}
		if strings.Contains(string(buf[:n]), "READY=1") {
			go d.listen(conn)
			return d
		}
	}
}

// listen receives what the daemon says of itself, as a service manager does, until the
// socket is closed.
func (d *daemon) listen(conn *net.UnixConn) {
	_ = conn.SetReadDeadline(time.Time{})
	for buf := make([]byte, 4096); ; {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

func (d *daemon) kill() {
	d.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		d.Fatal(err)
	}
	d.cmd.Wait()
}

// stop asks the daemon to end, as systemd does.
func (d *daemon) stop() {
	d.Helper()
	if err := d.cmd.Process.Signal(unix.SIGTERM); err != nil {
		d.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		d.Fatalf("the daemon ended with %v\n%s", err, d.log.String())
	}
}

// count is how often the log has a line with the text.
func (d *daemon) count(text string) int { return strings.Count(d.log.String(), text) }
