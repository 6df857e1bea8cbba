package page

import (
	"fmt"
	"math"
	"strings"
)

// A path is the d of an SVG path.
type path struct {
	strings.Builder
	x, y float64
}

// round keeps a drawing short: a tenth of a pixel is not seen.
func round(f float64) float64 { return math.Round(f*10) / 10 }

func (p *path) move(x, y float64) {
	p.x, p.y = round(x), round(y)
	fmt.Fprintf(p, "M%g %g", p.x, p.y)
}

func (p *path) to(x, y float64) {
	if x, y = round(x), round(y); x != p.x || y != p.y {
		fmt.Fprintf(p, "L%g %g", x, y)
		p.x, p.y = x, y
	}
}

// step goes across and then up or down, or begins anew.
func (p *path) step(x, y float64, anew bool) {
	if anew {
		p.move(x, y)
		return
	}
	p.to(x, p.y)
	p.to(x, y)
}

// close ends an area at the bottom.
func (p *path) close(begin, bottom float64) {
	if p.Len() > 0 {
		fmt.Fprintf(p, "V%gH%gZ", round(bottom), round(begin))
	}
}

func (p *path) bar(x, y, width, height float64) {
	fmt.Fprintf(p, "M%g %gv%gh%gv%gz", round(x), round(y), -round(height), round(width), round(height))
}
