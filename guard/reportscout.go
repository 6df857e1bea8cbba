package guard

import "log/slog"

// reportSeen reports that a census works after one that did not.
func (g *Guard) reportSeen() {
	if g.scouting.unseen != "" {
		g.scouting.unseen = ""
		g.log(slog.LevelInfo, eventSeen, "who fills the table can be seen again")
	}
}

// reportUnseen reports a census that failed when its reason is new.
func (g *Guard) reportUnseen(err error) {
	if g.scouting.unseen != err.Error() {
		g.scouting.unseen = err.Error()
		g.log(slog.LevelWarn, eventUnseen, "who fills the table can't be seen: "+err.Error(), slog.String("ERROR", err.Error()))
	}
}

// reportCounting reports what becomes of our nft table when that is new.
func (g *Guard) reportCounting(counting bool, err error) {
	s, why := &g.scouting, ""
	if err != nil {
		why = err.Error()
	}
	if counting == s.counting && why == s.uncounted {
		return
	}
	switch {
	case err != nil:
		g.log(slog.LevelWarn, eventNotCounting, "new connections are not counted by source: "+why, slog.String("ERROR", why))
	case counting:
		g.log(slog.LevelInfo, eventCounting, "counting new connections by source, in the nft table conntrack_guardian")
	case s.counting:
		g.log(slog.LevelInfo, eventNotCounting, "new connections are no longer counted, the nft table is removed")
	}
	s.counting, s.uncounted = counting, why
}

// reportForgotten reports when what was learned can't be kept, when the reason is
// new.
func (g *Guard) reportForgotten(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why != g.forgot && why != "" {
		g.log(slog.LevelWarn, eventForgotten, "what is ordinary for this table is not kept: "+why, slog.String("ERROR", why))
	}
	g.forgot = why
}

// reportBlurred reports that not all is known of the flows that may bypass tracking,
// when the reason is new. One of which nothing is known stays tracked.
func (g *Guard) reportBlurred(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why != g.scouting.blurred && why != "" {
		g.log(slog.LevelWarn, eventUnseen, "whether flows are translated can't be seen, so they stay tracked: "+why, slog.String("ERROR", why))
	}
	g.scouting.blurred = why
}

// reportMisread reports that the allowlist could not be read whole, when the reason is
// new.
func (g *Guard) reportMisread(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why != g.scouting.misread && why != "" {
		g.log(slog.LevelWarn, eventUnseen, "the list of sources that are never limited may lack some: "+why, slog.String("ERROR", why))
	}
	g.scouting.misread = why
}
