package page

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Text writes the report for a terminal of 80 columns, in plain ASCII where that does
// not show more.
func (r *Report) Text(w io.Writer, ascii bool) error {
	var b strings.Builder
	t := textReport{r, &b, ascii}
	t.head()
	t.plots()
	t.changes()
	t.advice()
	t.causes()
	t.sources()
	t.figures()
	t.events()
	out := clean(b.String())
	if ascii {
		out = plain.Replace(out)
	}
	if _, err := io.WriteString(w, out); err != nil {
		return fmt.Errorf("print the episode: %w", err)
	}
	return nil
}

// plain has a letter of ASCII, or some, for each of ours beyond it.
var plain = strings.NewReplacer(
	"▁", "_", "▂", ".", "▃", ".", "▄", ":", "▅", ":", "▆", "|", "▇", "|", "█", "#",
	"│", "|", "└", "+", "┬", "+", "─", "-", "▲", "^", "▼", "v", "◀", "<", "▶", ">", "×", "x",
	"→", "->", "±", "+-", "–", "-", "…", "...", "≥", ">=", "−", "-",
)

// clean takes out what would steer a terminal: a record can be anybody's.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && (c < ' ' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError) {
			return '?'
		}
		return c
	}, s)
}

type textReport struct {
	*Report
	b     *strings.Builder
	ascii bool
}

func (t *textReport) head() {
	t.wrap("", fmt.Sprintf("Episode %s: %s", t.ID, t.title()))
	t.wrap("", t.when())
	t.b.WriteString("\n")
	t.wrap("", t.summary())
	if t.Broken != "" {
		t.wrap("", "A part of the record could not be read: "+t.Broken)
	}
}

func (t *textReport) plots() {
	if w, ok := t.trouble(); ok {
		t.section("The trouble: entries and nf_conntrack_max")
		newTextPlot(t.Report, w).write(t.b)
		t.section("The whole episode")
	} else {
		t.section("Entries and nf_conntrack_max")
	}
	w := t.whole()
	newTextPlot(t.Report, w).write(t.b)
	if t.scaleOf(w).off {
		t.wrap(strings.Repeat(" ", labelWidth+2), fmt.Sprintf("nf_conntrack_max, %s, is far above the plot", policy.Number(t.Peak.Max)))
	}
}

// manyChanges is from how many on each is told briefly.
const manyChanges = 16

func (t *textReport) changes() {
	if len(t.Changes) == 0 {
		return
	}
	t.section("Changes")
	for i := range t.Changes {
		c := &t.Changes[i]
		t.item(strconv.Itoa(c.ID), fmt.Sprintf("%s: %s", c.Measure, c.What))
		t.detail(t.madeText(c))
		if len(t.Changes) > manyChanges {
			t.detail(c.outcome() + "; " + t.end(c))
			continue
		}
		t.detail(prefixed("why: ", c.Reason))
		t.detail("effect: " + c.outcome())
		if c.Effect != nil {
			t.detail(c.Effect.text())
		}
		t.detail(c.Walk)
		t.detail(t.end(c))
	}
}

// prefixed puts a word before what is not empty.
func prefixed(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

func (t *textReport) advice() {
	if len(t.Advice) == 0 {
		return
	}
	t.section("Advised, not done")
	for i, a := range t.Advice {
		t.item("A"+strconv.Itoa(i+1), fmt.Sprintf("%s %s: %s", t.clock(a.At), a.Measure, a.What))
		t.detail(a.Reason)
		t.detail(prefixed("id: ", a.ID))
	}
}

func (t *textReport) causes() {
	if len(t.Diagnoses) == 0 {
		return
	}
	t.section("Cause and evidence")
	for _, d := range t.Diagnoses {
		t.item(t.clock(d.At), diagnosisText(d))
		t.detail(d.Evidence)
	}
}

func (t *textReport) sources() {
	k := t.Census
	if k == nil {
		return
	}
	t.section(fmt.Sprintf("Who filled the table: a census of %s at %s", policy.Number(k.Read), t.clock(k.At)))
	var kinds []string
	for _, x := range k.Kinds {
		kinds = append(kinds, x.Name+" "+shareText(x.Share))
	}
	t.wrap("", strings.Join(kinds, ", "))
	for _, s := range k.Sources {
		fmt.Fprintf(t.b, "%-28s %18s %10s entries %9s\n", s.Name, shareText(s.Share), policy.Number(s.Entries), rateText(s.New))
	}
	t.wrap("", k.Pool)
}

// rateText writes a rate, nothing where it is not known.
func rateText(perSecond float64) string {
	if perSecond < 1 {
		return ""
	}
	return policy.Number(int(perSecond)) + "/s"
}

func (t *textReport) figures() {
	if t.Losses.Sum() > 0 {
		t.section("What the kernel counted")
		for _, c := range t.counters() {
			fmt.Fprintf(t.b, "%-13s %10s  %s\n", c.Name, c.Value, c.What)
		}
	}
	if len(t.Values)+t.Kept > 0 {
		t.section("Kernel values")
		for _, v := range t.Values {
			t.item(v.Name, fmt.Sprintf("%s → %s", v.Before, v.After))
		}
		t.wrap("", t.keptText())
	}
}

func (t *textReport) events() {
	t.section("Account")
	for _, e := range t.Events {
		t.item(t.clock(e.At), e.Text)
	}
	if t.Unlisted > 0 {
		t.wrap("", plural(t.Unlisted, "more is", "more are")+" not listed.")
	}
	for _, g := range t.Gaps {
		t.wrap("", t.gapText(g))
	}
}

func (t *textReport) section(head string) { fmt.Fprintf(t.b, "\n%s\n", head) }

// item writes a line with a name in front of it.
func (t *textReport) item(name, text string) {
	t.hang(fmt.Sprintf("%3s  ", name), text)
}

// detail writes what belongs to an item; nothing for nothing.
func (t *textReport) detail(text string) { t.wrap("     ", text) }

func (t *textReport) wrap(indent, text string) {
	if text != "" {
		t.hang(indent, text)
	}
}

// words are what lines may be broken between: a number stays with its sign.
func words(text string) []string {
	const glue = "\x00"
	list := strings.Fields(strings.NewReplacer(" %", glue+"%", " ± ", glue+"±"+glue, " +- ", glue+"+-"+glue).Replace(text))
	for i, w := range list {
		list[i] = strings.ReplaceAll(w, glue, " ")
	}
	return list
}

// hang breaks text into lines behind a first one that begins with lead.
func (t *textReport) hang(lead, text string) {
	indent := strings.Repeat(" ", min(utf8.RuneCountInString(lead), 10))
	if t.ascii { // which is longer, here and there
		text = plain.Replace(text)
	}
	line := lead
	for i, word := range words(text) {
		sep := " "
		if i == 0 {
			sep = ""
		}
		if i > 0 && utf8.RuneCountInString(line+sep+word) > pageColumns {
			t.b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, sep = indent, ""
		}
		line += sep + word
	}
	t.b.WriteString(strings.TrimRight(line, " ") + "\n")
}
