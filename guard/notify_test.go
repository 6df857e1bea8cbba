package guard

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNotifier(t *testing.T) {
	var sent []string
	n := &Notifier{send: func(s string) bool { sent = append(sent, s); return true }, watchdog: time.Second}
	text := "healthy"
	status := func() string { return text }
	expect := func(want ...string) {
		t.Helper()
		if got := strings.Join(sent, "|"); got != strings.Join(want, "|") {
			t.Errorf("sent %q, want %q", got, want)
		}
		sent = nil
	}
	n.ticked(false, status, 5*time.Second)
	expect("STATUS=healthy") // not ready, no watchdog: the tick was not complete
	n.reloading()            // a service that is still starting is not reloading
	n.reloaded()
	expect()
	n.ticked(true, status, 5100*time.Millisecond)
	expect("WATCHDOG=1", "READY=1\nSTATUS=healthy")
	n.ticked(true, status, 5500*time.Millisecond)
	expect()
	text = "table-full\nREADY=1"
	n.ticked(true, status, 6200*time.Millisecond)
	expect("WATCHDOG=1")
	n.ticked(false, status, 8*time.Second)
	expect("STATUS=table-full; READY=1")
	n.ticked(true, status, 8100*time.Millisecond)
	expect("WATCHDOG=1")
	if got := n.within(10 * time.Second); got != time.Second {
		t.Errorf("a pause of %s starves a watchdog of 1s", got)
	}
	n.reloading()
	if len(sent) != 1 || !strings.HasPrefix(sent[0], "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("sent %q", sent)
	}
	sent = nil
	n.reloaded()
	n.stopping()
	expect("READY=1", "STOPPING=1")
}

// That the service is ready is said until it is on its way.
func TestReadyIsSaidAgain(t *testing.T) {
	var sent []string
	busy := true
	n := &Notifier{send: func(s string) bool {
		if !busy {
			sent = append(sent, s)
		}
		return !busy
	}}
	status := func() string { return "healthy" }
	n.ticked(true, status, time.Second)
	busy = false
	for i := range 5 {
		n.ticked(true, status, time.Duration(2+i)*time.Second)
	}
	if got := strings.Join(sent, "|"); got != "WATCHDOG=1|READY=1\nSTATUS=healthy" {
		t.Errorf("sent %q", got)
	}
}

// A service manager that does not listen does not stop the guard.
func TestDeafServiceManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listen := make(chan struct{})
		var heard []string
		send := patiently(func(state string) {
			<-listen
			heard = append(heard, state)
		})
		start := time.Now()
		for _, state := range []string{"a", "b", "c"} {
			send(state)
		}
		if took := time.Since(start); took != hearing {
			t.Errorf("held up for %s, want %s once", took, hearing)
		}
		close(listen)
		synctest.Wait()
		send("d")
		if want := []string{"a", "d"}; !slices.Equal(heard, want) {
			t.Errorf("heard %q, want %q", heard, want)
		}
	})
}
