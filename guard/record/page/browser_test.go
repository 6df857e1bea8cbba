package page

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A browser is a real one without a screen.
type browser struct{ ctx context.Context }

// openBrowser starts one for a test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)))
	if os.Geteuid() == 0 { // whose processes it can't confine
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(leave)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return &browser{ctx}
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium-headless-shell", "headless_shell", "chromium", "google-chrome"} {
		if file, err := exec.LookPath(name); err == nil {
			return file
		}
	}
	t.Fatal("no Chromium: apt-get install chromium-headless-shell")
	return ""
}

// A tab shows one page. Its methods fail the test.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu    sync.Mutex
	asked []string
	said  []string
}

// open serves a page and loads it.
func (b *browser) open(t *testing.T, html string, width int, scheme string) *tab {
	t.Helper()
	w := &tab{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.note(&w.asked, "http://"+r.Host+r.URL.Path)
		out.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = out.Write([]byte(html)) // the browser has gone otherwise
	}))
	t.Cleanup(server.Close)
	w.url = server.URL + "/"
	ctx, leave := chromedp.NewContext(b.ctx)
	t.Cleanup(leave)
	if err := chromedp.Listen(ctx, w.hear); err != nil { // and not later, with the time limit
		t.Fatalf("open a tab: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	w.ctx = ctx
	call(w, log.Enable, cdp.Empty{})
	call(w, network.Enable, network.EnableParams{})
	call(w, runtime.Enable, cdp.Empty{})
	call(w, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(width), Height: 900, DeviceScaleFactor: 1, Mobile: width < 500,
	})
	w.show("screen", scheme)
	run(w, chromedp.Navigate(w.url))
	return w
}

// show has the page shown on a medium, to somebody who prefers a colour scheme.
func (w *tab) show(medium, scheme string) {
	w.t.Helper()
	call(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: medium, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// hear keeps what the browser asks for and complains of.
func (w *tab) hear(event any) {
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Request.URL != w.url {
			w.note(&w.asked, e.Request.URL)
		}
	case *log.EventEntryAdded:
		w.note(&w.said, e.Entry.Text)
	case *runtime.EventConsoleAPICalled:
		w.note(&w.said, string(e.Type))
	case *runtime.EventExceptionThrown:
		w.note(&w.said, e.ExceptionDetails.Text)
	}
}

func (w *tab) note(list *[]string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, text)
}

func (w *tab) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.asked...)
}

func (w *tab) complaints() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.said...)
}

func run[T any](w *tab, a chromedp.Action[T]) T {
	w.t.Helper()
	v, err := chromedp.Run(w.ctx, a)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func call[P, R any](w *tab, c cdp.Command[P, R], params P) {
	w.t.Helper()
	if _, err := chromedp.Call(w.ctx, c, params); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tab) eval(script string) any {
	w.t.Helper()
	return run(w, chromedp.Evaluate[any](script))
}

func (w *tab) strings(script string) []string {
	w.t.Helper()
	return run(w, chromedp.Evaluate[[]string](script))
}

// do runs a script for what it does.
func (w *tab) do(script string) {
	w.t.Helper()
	run(w, chromedp.Evaluate[chromedp.Void](script))
}

// unfold opens what is folded.
func (w *tab) unfold() { w.do(`document.querySelectorAll("details").forEach(d => d.open = true)`) }

func (w *tab) pdf() []byte {
	w.t.Helper()
	out := run(w, chromedp.PrintToPDF())
	w.keep("page.pdf", out)
	return out
}

// shoot keeps a picture of the whole page for people.
func (w *tab) shoot(name string) {
	w.t.Helper()
	w.keep(name+".png", run(w, chromedp.FullScreenshot(100)))
}

func (w *tab) keep(name string, content []byte) {
	w.t.Helper()
	name = strings.ReplaceAll(strings.TrimPrefix(w.t.Name(), "Test"), "/", "-") + "-" + name
	if err := os.WriteFile(filepath.Join(w.t.ArtifactDir(), name), content, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// plot is a picture of the plot of the whole episode.
func (w *tab) plot() image.Image {
	w.t.Helper()
	w.do(`[...document.querySelectorAll("svg.plot")].filter(e => e.getClientRects().length).at(-1).id = "shown"`)
	img, err := png.Decode(bytes.NewReader(run(w, chromedp.Screenshot("#shown"))))
	if err != nil {
		w.t.Fatal(err)
	}
	return img
}

// contrastScript lists each pair of a text's colour and one that it lies on, with the
// text. What lies in a plot lies on the paper or on the shade of the episode, unless it
// is in a box.
const contrastScript = `(() => {
	const seen = new Map(), under = e => {
		for (; e; e = e.parentElement) {
			const c = getComputedStyle(e).backgroundColor;
			if (c !== "rgba(0, 0, 0, 0)") return c;
		}
		return "rgb(255, 255, 255)";
	};
	const add = (ink, paper, text) => seen.set(ink + "|" + paper + "|" + text.slice(0, 12), ink + "|" + paper + "|" + text.trim().slice(0, 60));
	for (const e of document.querySelectorAll("body *")) {
		const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join(" ");
		if (!text.trim() || !e.getClientRects().length) continue;
		if (!(e instanceof SVGTextElement)) { add(getComputedStyle(e).color, under(e), text); continue; }
		const ink = getComputedStyle(e).fill, box = e.previousElementSibling;
		if (e.matches(".pilltext, .causetext")) add(ink, getComputedStyle(box).fill, text);
		else for (const paper of [under(e.closest("section")), getComputedStyle(document.querySelector("rect.episode")).fill]) add(ink, paper, text);
	}
	return [...seen.values()];
})()`

// overlapScript lists what lies on each other in a plot: boxes of changes, and words on
// the axes.
const overlapScript = `[...document.querySelectorAll("svg.plot")].filter(p => p.getClientRects().length).flatMap(p => {
	const out = [];
	for (const kind of [".pill", ".axis", ".value"]) {
		const all = [...p.querySelectorAll(kind)].filter(e => kind === ".pill" || e.textContent);
		all.forEach((a, i) => all.slice(i + 1).forEach(b => {
			const r = a.getBoundingClientRect(), s = b.getBoundingClientRect();
			const w = Math.min(r.right, s.right) - Math.max(r.left, s.left), h = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
			if (w > 1.5 && h > 4) out.push(kind + " " + a.textContent + " / " + b.textContent + " at " + Math.round(r.left) + "," + Math.round(r.top));
		}));
	}
	return out;
})`

type rgb [3]float64

// parseColor reads what getComputedStyle writes of an opaque colour.
func parseColor(t *testing.T, text string) (c rgb) {
	t.Helper()
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(text, "rgb("), ")"), ",")
	if len(parts) != 3 {
		t.Fatalf("%q is no opaque colour", text)
	}
	for i, p := range parts {
		n, err := strconv.Atoi(strings.TrimSpace(p))
		if err != nil {
			t.Fatalf("colour %q: %v", text, err)
		}
		c[i] = float64(n)
	}
	return c
}

// contrast is the ratio of WCAG 2.
func contrast(a, b rgb) float64 {
	la, lb := a.luminance(), b.luminance()
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

func (c rgb) luminance() float64 {
	linear := func(v float64) float64 {
		if v /= 255; v > 0.04045 {
			return math.Pow((v+0.055)/1.055, 2.4)
		} else {
			return v / 12.92
		}
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

// near reports whether a pixel is of a colour, but for what the edge of a line blends.
func near(p interface{ RGBA() (r, g, b, a uint32) }, c rgb) bool {
	r, g, b, _ := p.RGBA()
	for i, v := range []uint32{r, g, b} {
		if math.Abs(float64(v>>8)-c[i]) > 24 {
			return false
		}
	}
	return true
}
