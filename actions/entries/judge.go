package entries

import (
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A verdict is what is to be done with an entry: what it is left alone for, or one of
// the last two.
type verdict uint8

const (
	isOther       verdict = iota // its class is not in the change
	isOffloaded                  // it is in a flow table
	isFixed                      // nobody changes its timeout
	isEstablished                // it is an established connection, without the opt-in
	isForeign                    // it has more time left than any timeout of its class gives
	isHeld                       // its children hold it, or a packet of its own that is under way, or who does is not told
	isYoung                      // it has no more left than it should
	toRetime
	toDelete
	verdicts
)

// A judge tells what is to be done with entries.
type judge struct {
	classes     *timeout.Rules
	rules       [timeout.Classes]Rule
	established bool
	retime      bool
	at          moment // of the entries being judged
}

// of judges an entry; class is told where it is in the change, left for toRetime.
func (j *judge) of(e *ctnetlink.Entry) (v verdict, class timeout.Class, left uint32) {
	if e.Offloaded {
		return isOffloaded, timeout.None, 0
	}
	class = j.classes.Class(e)
	rule := &j.rules[class]
	if rule.New == 0 {
		return isOther, class, 0
	}
	if v = j.bars(e, class); v != toDelete {
		return v, class, 0
	}
	age, ok := rule.age(int64(e.Timeout), j.at)
	if !ok {
		return isForeign, class, 0
	}
	v = j.byAge(rule, age, int64(e.Timeout))
	if v != isYoung && e.Use != 1 {
		return isHeld, class, 0
	}
	return v, class, uint32(rule.left(age))
}

// bars is what an entry is left alone for however old it is, or toDelete.
func (j *judge) bars(e *ctnetlink.Entry, class timeout.Class) verdict {
	switch {
	case e.Status&ctnetlink.StatusFixedTimeout != 0:
		return isFixed
	case class == timeout.TCPEstablished && e.Status&ctnetlink.StatusAssured != 0 && !j.established:
		return isEstablished
	}
	return toDelete
}

// byAge compares what an entry has left with what it should have. It was cut to whole
// seconds, so that it may be one more.
func (j *judge) byAge(rule *Rule, age, left int64) verdict {
	switch {
	case age >= int64(rule.New):
		return toDelete
	case j.retime && left > rule.left(age)+1:
		return toRetime
	}
	return isYoung
}
