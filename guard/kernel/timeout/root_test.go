package timeout_test

import (
	"errors"
	"io/fs"
	"strconv"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A namespace has timeouts of its own, each under its key. One that the kernel
// does not have is 0.
func TestRootRead(t *testing.T) {
	err := netns.Do(netnstest.New(t), func() error {
		want, err := mark()
		if err != nil {
			return err
		}
		got, err := timeout.Read()
		got.DCCP = want.DCCP
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mark gives each timeout of the calling thread's namespace a value of its own.
func mark() (t timeout.Table, err error) {
	const retrans = 1000
	there := 0
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		err := sysctl.Write(c.Key(), strconv.Itoa(100+int(c)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return t, err
		}
		t.Of[c] = 100 + int(c)
		there++
	}
	if there < 13 {
		return t, errors.New("hardly any timeout is there")
	}
	t.MaxRetrans = retrans
	return t, sysctl.Write("net.netfilter.nf_conntrack_tcp_timeout_max_retrans", strconv.Itoa(retrans))
}
