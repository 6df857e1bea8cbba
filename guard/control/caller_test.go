package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// callerEnv names what this test binary does instead of testing, as another process.
const callerEnv = "CONTROL_CALLER"

func TestMain(m *testing.M) {
	switch os.Getenv(callerEnv) {
	case "ask":
		askOnce(os.Args[1])
	case "witness":
		witness()
	case "listen":
		listenOnly(os.Args[1])
	case "attack":
		hands, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		attack(os.Args[1], hands)
	default:
		code := m.Run()
		if path, err := program(); err == nil {
			os.RemoveAll(filepath.Dir(path))
		}
		os.Exit(code)
	}
}

// A verdict is what became of a caller's two requests: the code of the refusal, or "ok".
type verdict struct{ Status, Do, Text string }

// askOnce asks for the status and for a reload, and prints the verdict.
func askOnce(path string) {
	c := Dial(path)
	_, err := c.Status(context.Background())
	v := verdict{Status: codeOf(err)}
	a, err := c.Do(context.Background(), Request{Verb: Reload})
	if v.Do = codeOf(err); err != nil {
		v.Text = err.Error()
	} else {
		v.Text = a.Message
	}
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func codeOf(err error) string {
	var r *Refusal
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &r):
		return string(r.Code)
	}
	return err.Error()
}

// program is this binary where every user may run it.
var program = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "caller")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "caller")
	return path, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, text, 0o755))
})

// caller is this binary as another process, of another user unless who is nil.
func caller(t *testing.T, who *syscall.Credential, what string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{callerEnv + "=" + what}
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	return cmd
}

// askAs asks as somebody else.
func askAs(t *testing.T, who *syscall.Credential, path string) (v verdict) {
	t.Helper()
	text, err := caller(t, who, "ask", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// Of all requests so many are slow: each holds a connection until the server's patience
// ends, after two seconds. Those that are oversized or no HTTP hold one for half a second,
// in which net/http lets a peer read why.
const (
	requests = 10_000
	slow     = 100
	lasting  = 500
)

// attack sends requests that no client of ours would send, so many at a time, and prints
// how many there were.
func attack(path string, hands int) {
	work := make(chan int)
	var done sync.WaitGroup
	for range hands {
		done.Go(func() {
			for i := range work {
				strike(path, i)
			}
		})
	}
	for i := range requests {
		work <- i
	}
	close(work)
	done.Wait()
	fmt.Println(requests)
}

// strike sends the i-th of them, and waits for the end of the connection.
func strike(path string, i int) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // fails on a closed one only
	kinds := malformed
	switch {
	case i%(requests/slow) == 0:
		dribble(c)
		return
	case i%(requests/lasting) == 1:
		kinds = oversized
	}
	_, _ = io.WriteString(c, kinds[i%len(kinds)]) // the server may be done before all was sent
	_, _ = io.Copy(io.Discard, c)
}

var (
	malformed = []string{
		"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", // some are well
		"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"seconds\":0}",
		"GET /v1/status?a;b HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/approve HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n[[[",
		"BREW /v1/coffee HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	oversized = []string{
		"GET /v1/status HTTP/9.9\r\nHost: x\r\n\r\n",
		"\x00\xff\x1b[2J\r\n\r\n",
		"POST /v1/approve HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + strings.Repeat("[", 64<<10),
		"POST /v1/rollback HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\n{\r\n", 8<<10),
		"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/status HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 8<<10) + "\r\n",
	}
)

// dribble sends a header that never ends.
func dribble(c net.Conn) {
	for {
		if _, err := io.WriteString(c, "X"); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
