package policy

import (
	"encoding/json"
	"testing"
	"time"
)

// In JSON a time to full is seconds, and null where the table does not fill.
func TestDecisionJSON(t *testing.T) {
	for want, d := range map[string]time.Duration{`1.5`: 1500 * time.Millisecond, `0`: 0, `null`: Never} {
		text, err := json.Marshal(Decision{Verb: Open, TimeToFull: d})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if string(got["time_to_full"]) != want || string(got["verb"]) != `"open"` {
			t.Errorf("%s: %s, want time_to_full %s", d, text, want)
		}
	}
}
