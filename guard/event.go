package guard

import "github.com/conntrack-guardian/conntrack-guardian/policy"

// An event is one kind of journal line. Its id is the line's MESSAGE_ID: stable
// for ever, so that operators can match on it.
type event struct {
	action string // the ACTION field
	id     string
}

// The kinds of lines.
var (
	eventOpened      = event{"episode-opened", "52e3e2e1046840389c5881715bcbfbc6"}
	eventDiagnosed   = event{"diagnosed", "c6c07b68b5e34c50be087abcf1ca7571"}
	eventDone        = event{"done", "5b815cb9b6a840e7a7e4fb6fcb263958"}
	eventAdvised     = event{"advised", "c28ee17f434448cb94295c62798ce9a3"}
	eventObserved    = event{"observed", "216a7fae24484f98a2eb5a0e58cd1442"}
	eventBounded     = event{"bounded", "aacdf6de6ce2496a9af3161777ccae24"}
	eventJudged      = event{"judged", "a8c805444a504573bacfb1f20406f058"}
	eventUndone      = event{"undone", "e660878606fb4f0b90b788b3a0c01f8a"}
	eventYielded     = event{"yielded", "bff3f583a79c4c9ab9778500e9cd6cf2"}
	eventClosed      = event{"episode-closed", "4155937c92d74577ab95f1de960acc6e"}
	eventFailed      = event{"failed", "748ee70d5afd485d980e08b04b75aead"}
	eventSettled     = event{"settled", "70181235a2e8437e9d6752a58c19a790"}
	eventStarted     = event{"started", "e96e5c21edee4dbda5e6eddcb91cc659"}
	eventStopped     = event{"stopped", "067c9d4563644cb7bd0a62a270750bd2"}
	eventReloaded    = event{"reloaded", "5e6b0451ba5a42b2b93b6caabbd0dd8e"}
	eventRejected    = event{"policy-rejected", "e739305d2668460db698d43e090f74b7"}
	eventBlind       = event{"blind", "4361352fd14e484882d07876098b56e0"}
	eventSeeing      = event{"seeing", "091d6418c37b4767a877101ed3fba0cf"}
	eventUnable      = event{"unable", "9531143147674191a53b88324e9d5a43"}
	eventUnseen      = event{"census-failed", "a7214d462d944e71a68f4c24f7536f31"}
	eventSeen        = event{"census-works", "43f8b93fffb641718f4a37c258ff18cd"}
	eventCounting    = event{"counting", "147858c4031349cb986a2c0d9637bc02"}
	eventNotCounting = event{"not-counting", "c35b6cda386647e999928cb844ed4777"}
	eventForgotten   = event{"baseline-failed", "5a299dc6263d44068b93a0cd9693e3e8"}
	eventRanked      = event{"ranked", "2cca5bd30e8c476bbe21ad5571c6ae62"}
	eventPruned      = event{"pruned", "ac7af25777a24c98afac03fc6cefa48f"}
	eventLoosened    = event{"loosened", "1d39ac6fedc541498f7a2fc5e6db2943"}
	eventRestored    = event{"restored", "2252c565689b4602ac011b36192e0dd6"}
	eventPaused      = event{"paused", "d04b09fc5a1d4f3dae9fad8d826ee5bd"}
	eventResumed     = event{"resumed", "76878e6f92074549929e548b417db81d"}
	eventNotApproved = event{"approval-refused", "865f6f5fe7bf431fa37ec240d5654bc2"}
	eventUnrecorded  = event{"record-failed", "21b72e8ab86e4ffe868abaf7cbf0e3ce"}
	eventAble        = event{"able", "63adcfcddfbc4bdc91b1af808b42a30d"}
)

// reported maps the verbs that are reported as they are decided. Do, Judge, Undo
// and Yield are reported by what came of them.
var reported = map[policy.Verb]event{
	policy.Open:     eventOpened,
	policy.Diagnose: eventDiagnosed,
	policy.Advised:  eventAdvised,
	policy.Observed: eventObserved,
	policy.Bounded:  eventBounded,
	policy.Rank:     eventRanked,
	policy.Close:    eventClosed,
}
