package page

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the template and its style sheet
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

//go:embed page.css
var style string

//go:embed page.html
var source string

// security lets the page use its own style sheet, by its hash, and nothing else: no
// script, no image, no font, no request.
var security = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'"
}()

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"number": func(n any) string { return policy.Number(integer(n)) },
	"exact":  exactPercent,
	"share":  shareText,
	"rate":   rateText,
	"letter": letter,
	"join":   strings.Join,
	"plus":   func(a, b int) int { return a + b },
	"sub":    func(a, b float64) float64 { return round(a - b) },
	"add":    func(a, b float64) float64 { return round(a + b) },
}).Parse(source))

// integer is a number of the report as policy.Number takes it.
func integer(n any) int {
	switch n := n.(type) {
	case uint64:
		return int(n)
	case float64:
		return int(n)
	}
	return n.(int)
}

// A sheet is what the template is given.
type sheet struct {
	*Report
	Style    template.CSS
	Security string
	Written  string
	Plots    []figurePlot
}

// A figurePlot is one plot in all layouts, and its figures.
type figurePlot struct {
	Head    string
	Drawn   []*plot
	Figures []Reading
}

// HTML writes the page. written says by what and where, for its foot.
func (r *Report) HTML(w io.Writer, written string) error {
	s := sheet{Report: r, Style: template.CSS(style), Security: security, Written: written}
	if t, ok := r.trouble(); ok {
		s.Plots = append(s.Plots, r.figure("The trouble", t), r.figure("The whole episode", r.whole()))
	} else {
		s.Plots = append(s.Plots, r.figure("Entries, limit and losses", r.whole()))
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, &s); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	// No line is broken between a number and its sign.
	out := strings.NewReplacer(" %", "\u00a0%", " ± ", "\u00a0±\u00a0").Replace(b.String())
	if _, err := io.WriteString(w, out); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// tableRows is how many rows a table of readings has at most.
const tableRows = 30

func (r *Report) figure(head string, w window) figurePlot {
	f := figurePlot{Head: head, Figures: r.readings(w, tableRows)}
	title := fmt.Sprintf("%s: entries of the connection table, its limit and what was lost, %s to %s UTC",
		head, r.clock(r.wall(w.from)), r.clock(r.wall(w.to)))
	for _, lay := range []layout{wide, medium, narrow} {
		f.Drawn = append(f.Drawn, r.drawing(w, lay, title))
	}
	return f
}

// What the template asks of the report.

// Heading names the causes.
func (s *sheet) Heading() string { return s.title() }

// When says from when to when it lasted.
func (s *sheet) When() string { return s.when() }

// Summary tells it in a few sentences.
func (s *sheet) Summary() string { return s.summary() }

// Clock writes a time.
func (s *sheet) Clock(t time.Time) string { return s.clock(t) }

// Span is how long it lasted.
func (s *sheet) Span() string { return policy.Span(s.Lasted()) }

// LostText lists what was lost by the kernel's counter.
func (s *sheet) LostText() string { return s.Losses.text() }

// ChangesText is how many changes were made, and what else there is to say of them.
func (s *sheet) ChangesText() [2]string {
	var notes []string
	done, undone := s.Done()
	if done > 0 {
		notes = append(notes, policy.Number(undone)+" taken back")
	}
	if n := len(s.Advice); n > 0 {
		notes = append(notes, policy.Number(n)+" advised")
	}
	return [2]string{policy.Number(done), cmp.Or(strings.Join(notes, ", "), "none made")}
}

// ShowsLimit and ShowsCeiling report whether a plot has such a line.
func (s *sheet) ShowsLimit() bool {
	return s.shows(func(p *plot) bool { return p.Limit != "" })
}

// ShowsCeiling is of the ceiling of raise-max.
func (s *sheet) ShowsCeiling() bool {
	return s.shows(func(p *plot) bool { return p.Ceiling != "" })
}

func (s *sheet) shows(what func(*plot) bool) bool {
	return slices.ContainsFunc(s.Plots, func(f figurePlot) bool { return slices.ContainsFunc(f.Drawn, what) })
}

// KeptText says how many kernel values are as they were.
func (s *sheet) KeptText() string { return s.keptText() }

// Counted are the kernel's counters.
func (s *sheet) Counted() []figure { return s.counters() }

// MadeText, OutcomeText, EffectText and EndText tell of a change.
func (s *sheet) MadeText(c Change) string { return s.madeText(&c) }

// OutcomeText says how its effect was judged.
func (s *sheet) OutcomeText(c Change) string { return c.outcome() }

// EffectText says what was seen of its effect.
func (s *sheet) EffectText(c Change) string {
	if c.Effect == nil {
		return ""
	}
	return c.Effect.text()
}

// EndText says what became of it.
func (s *sheet) EndText(c Change) string { return s.end(&c) }

// DiagnosisText names a cause with the confidence in it.
func (s *sheet) DiagnosisText(d Diagnosis) string { return diagnosisText(d) }

// Utilization is a reading's, empty where there was no limit.
func (s *sheet) Utilization(r Reading) string {
	if r.Max == 0 {
		return "–"
	}
	return exactPercent(r.Used)
}

// Lost reports whether anything was.
func (s *sheet) Lost() uint64 { return s.Losses.Sum() }

// GapText tells of a time without readings.
func (s *sheet) GapText(g Gap) string { return s.gapText(g) }
