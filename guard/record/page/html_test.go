package page

import (
	"fmt"
	"image/color"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// The pages that are looked at.
var pages = []struct {
	name string
	make func() *gateway
}{
	{"flood", flood},
	{"advised", advised},
	{"limits", func() *gateway { return limits(40) }},
	{"ports", ports},
}

// The values that were recorded when an episode began and ended.
var (
	atBegin = map[string]string{"net.netfilter.nf_conntrack_count": "9000", "net.netfilter.nf_conntrack_max": "65536", "net.netfilter.nf_conntrack_buckets": "65536"}
	atEnd   = map[string]string{"net.netfilter.nf_conntrack_count": "9001", "net.netfilter.nf_conntrack_max": "262144", "net.netfilter.nf_conntrack_buckets": "65536"}
)

func reportOf(t *testing.T, g *gateway) *Report {
	t.Helper()
	r, err := Build(g.all(), "", atBegin, atEnd)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.HTML(&b, "Written by the test."); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Each page is opened in a browser: on a telephone and on a wide screen, light and dark.
func TestPageInABrowser(t *testing.T) {
	b := openBrowser(t)
	for _, p := range pages {
		r := reportOf(t, p.make())
		html := pageOf(t, r)
		for _, size := range sizes {
			if size.once && p.name != "flood" {
				continue
			}
			t.Run(fmt.Sprintf("%s-%d-%s", p.name, size.width, size.scheme), func(t *testing.T) {
				look(t, b.open(t, html, size.width, size.scheme), r)
			})
		}
	}
}

// The sizes that pages are looked at in: a telephone and a wide screen, and what lies
// just beside the widths at which a plot is drawn otherwise.
var sizes = []struct {
	width  int
	scheme string
	once   bool // one page is enough
}{
	{360, "light", false},
	{360, "dark", false},
	{620, "light", true},
	{621, "dark", true},
	{1040, "light", true},
	{1041, "dark", true},
	{1600, "light", false},
	{1600, "dark", false},
}

func look(t *testing.T, tab *tab, r *Report) {
	t.Helper()
	tab.shoot("page")
	checkQuiet(t, tab)
	checkWidth(t, tab)
	checkContrast(t, tab)
	checkLetters(t, tab)
	checkMarks(t, tab, r)
	checkPixels(t, tab, r)
	tab.unfold()
	tab.shoot("unfolded")
	checkWidth(t, tab)
	checkTables(t, tab)
	checkContrast(t, tab)
}

// checkQuiet holds that nothing but the page was asked for, and nothing refused.
func checkQuiet(t *testing.T, tab *tab) {
	t.Helper()
	if got := tab.requests(); !slices.Equal(got, []string{tab.url}) {
		t.Errorf("requests: %q, want only %s", got, tab.url)
	}
	if got := tab.complaints(); len(got) > 0 {
		t.Errorf("the browser complains: %q", got)
	}
	if tab.eval("document.styleSheets.length") != 1.0 || tab.eval("getComputedStyle(document.body).margin") != "0px" {
		t.Error("the style sheet is not in force")
	}
	// A script that got in would not run.
	tab.do(`(() => { const s = document.createElement("script"); s.textContent = "window.ran = 1"; document.body.append(s); s.remove() })()`)
	if tab.eval("typeof window.ran") != "undefined" {
		t.Error("a script in the page runs")
	}
}

// checkWidth holds that nothing is wider than the page.
func checkWidth(t *testing.T, tab *tab) {
	t.Helper()
	wide := tab.strings(`[...document.querySelectorAll("body *")].filter(e => {
		const r = e.getBoundingClientRect();
		return r.width > 0 && !e.closest("table") && (r.right > innerWidth + 0.5 || r.left < -0.5)
	}).map(e => e.tagName + "." + (e.getAttribute("class") || "") + ": " + e.textContent.slice(0, 40))`)
	if scroll := tab.eval("document.documentElement.scrollWidth - innerWidth"); len(wide) > 0 || scroll != 0.0 {
		t.Errorf("wider than the page by %v: %q", scroll, wide)
	}
}

// checkTables holds that usual numbers need no scrolling.
func checkTables(t *testing.T, tab *tab) {
	t.Helper()
	if hidden := tab.strings(`[...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth)
		.map(e => e.scrollWidth + " in " + e.clientWidth + ": " + e.textContent.slice(0, 60))`); len(hidden) > 0 {
		t.Errorf("tables that have to be scrolled: %q", hidden)
	}
}

// checkContrast holds the contrast that WCAG 2 asks for text (1.4.3, level AA).
func checkContrast(t *testing.T, tab *tab) {
	t.Helper()
	var seen int
	for _, line := range tab.strings(contrastScript) {
		pair := strings.SplitN(line, "|", 3)
		ink, paper := parseColor(t, pair[0]), parseColor(t, pair[1])
		if c := contrast(ink, paper); c < 4.5 {
			t.Errorf("contrast %.2f of %s on %s: %s", c, pair[0], pair[1], pair[2])
		}
		seen++
	}
	if seen < 20 {
		t.Errorf("only %d kinds of text were looked at", seen)
	}
}

// checkLetters holds that letters of the plots are large enough to be read and do not
// lie on each other.
func checkLetters(t *testing.T, tab *tab) {
	t.Helper()
	for _, size := range tab.strings(`[...document.querySelectorAll("svg.plot text")].filter(e => e.getClientRects().length && e.textContent)
		.map(e => String(parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a))`) {
		if f, err := strconv.ParseFloat(size, 64); err != nil || f < 10.5 {
			t.Errorf("letters of %s px", size)
		}
	}
	if on := tab.strings(overlapScript); len(on) > 0 {
		t.Errorf("one on the other: %q", on)
	}
}

// checkMarks holds that the plot of the whole episode marks each change where it was
// made and where it was taken back.
func checkMarks(t *testing.T, tab *tab, r *Report) {
	t.Helper()
	var made, undone []string
	for _, c := range r.Changes {
		made = append(made, strconv.Itoa(c.ID))
		if c.State == policy.Undone {
			undone = append(undone, strconv.Itoa(c.ID))
		}
	}
	for name, want := range map[string][]string{"made": made, "undone": undone} {
		got := tab.strings(fmt.Sprintf(`[...[...document.querySelectorAll("svg.plot")].filter(e => e.getClientRects().length).at(-1)
			.querySelectorAll("g.mark.made[data-%s]")].flatMap(e => e.dataset.%s.split(" "))`, name, name))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("marks of changes %s: %q, want %q", name, got, want)
		}
	}
	advice := tab.strings(`[...[...document.querySelectorAll("svg.plot")].filter(e => e.getClientRects().length).at(-1)
		.querySelectorAll("g.mark.advice")].flatMap(e => e.dataset.made.split(" "))`)
	if len(advice) != len(r.Advice) {
		t.Errorf("%d marks of advice, want %d", len(advice), len(r.Advice))
	}
}

// checkPixels holds that what the plot is about can be seen in it.
func checkPixels(t *testing.T, tab *tab, r *Report) {
	t.Helper()
	img := tab.plot()
	want := map[string]int{".count": img.Bounds().Dx() / 3}
	if !r.scaleOf(r.whole()).off {
		want["path.limit"] = img.Bounds().Dx() / 3
	}
	for name, n := range map[string]uint64{"path.drop": r.Losses.Drop, "path.failed": r.Losses.InsertFailed, "path.early": r.Losses.EarlyDrop} {
		if n > 0 {
			want[name] = 20
		}
	}
	for name, least := range want {
		property := "stroke"
		if name != ".count" && name != "path.limit" {
			property = "fill"
		}
		shade := parseColor(t, tab.eval(fmt.Sprintf(`getComputedStyle(document.querySelector("svg.plot %s")).%s`, name, property)).(string))
		got := 0
		for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
			for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
				if near(color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA), shade) {
					got++
				}
			}
		}
		if got < least {
			t.Errorf("%d pixels of %s, want %d", got, name, least)
		}
	}
}

// On paper the page is light whatever the screen is, and what is folded is printed.
func TestPageOnPaper(t *testing.T) {
	b := openBrowser(t)
	tab := b.open(t, pageOf(t, reportOf(t, flood())), 794, "dark") // A4
	dark := tab.eval("getComputedStyle(document.body).backgroundColor")
	tab.show("print", "dark")
	if light := tab.eval("getComputedStyle(document.body).backgroundColor"); light != "rgb(255, 255, 255)" || dark == light {
		t.Errorf("paper is %v, the screen %v", light, dark)
	}
	if h := tab.eval(`document.querySelector(".account").getBoundingClientRect().height`); h.(float64) < 100 {
		t.Errorf("the account is %v px high on paper", h)
	}
	checkLetters(t, tab)
	tab.shoot("paper")
	if pdf := tab.pdf(); len(pdf) < 20_000 || !strings.HasPrefix(string(pdf), "%PDF-") {
		t.Errorf("a PDF of %d bytes", len(pdf))
	}
}

// What a record holds is text, whatever it looks like.
func TestPageIsNotWrittenByTheRecord(t *testing.T) {
	r := reportOf(t, ports())
	const evil = `</title></style><script>window.ran=1</script><img src="http://198.51.100.1/x" onerror="window.ran=1">" onload="window.ran=1`
	r.ID, r.Broken, r.Policy[0] = evil, evil, evil
	r.Diagnoses[0].Evidence, r.Diagnoses[1].Cause = evil, policy.Cause(evil)
	r.Events[0].Text, r.Census.Pool, r.Values[0].After, r.Census.Sources[0].Name = evil, evil, evil, evil
	r.Changes = append(r.Changes, Change{ID: 1, What: evil, Reason: evil, ApprovedBy: evil, Ended: evil, Judged: evil, State: policy.Undone, made: r.opened, since: r.closed})
	tab := openBrowser(t).open(t, pageOf(t, r), 1000, "light")
	checkQuiet(t, tab)
	if n := tab.eval(`document.querySelectorAll("script, img, [onload], [onerror]").length`); n != 0.0 {
		t.Errorf("%v elements of the record's", n)
	}
	if n := strings.Count(tab.eval("document.body.textContent").(string), "window.ran=1"); n < 10 {
		t.Errorf("the record's text shows %d times", n)
	}
}
