package page

import (
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// barWidth is that of one bar and the space behind it.
const barWidth = 5

func (p *plot) bars() int { return int(p.u.width / barWidth) }

func (p *plot) lostCells() []cell { return p.r.series.cells(p.u.from, p.u.to, p.bars()) }

// mostLost is what the highest bar stands for.
func (p *plot) mostLost() (most uint64) {
	for _, c := range p.lostCells() {
		most = max(most, c.lost.Sum())
	}
	return most
}

// drawLosses makes the bars, each kind on top of the one before.
func (p *plot) drawLosses() {
	most := p.mostLost()
	if most == 0 {
		p.LostCaption = "nothing lost"
		return
	}
	top := float64(most) * headroom
	for _, v := range ticks(top, 2)[1:] {
		text := policy.Number(int(v))
		if p.lay.shortNumbers {
			text = shortNumber(v)
		}
		p.Lost = append(p.Lost, tick{p.Left, round(p.LostBottom - v/top*p.lay.lost), text, "end"})
	}
	p.LostCaption = fmt.Sprintf("lost in each %s: at most %s", policy.Span(p.u.span()/time.Duration(p.bars())), policy.Number(int(most)))
	var bars [3]path
	for _, c := range p.lostCells() {
		x, y := p.Left+float64(c.at)*barWidth, p.LostBottom
		for i, lost := range []uint64{c.lost.Drop, c.lost.InsertFailed, c.lost.EarlyDrop} {
			if lost > 0 {
				h := max(float64(lost)/top*p.lay.lost, 1.5)
				bars[i].bar(x, y, barWidth-1, h)
				y -= h
			}
		}
	}
	p.Drops, p.Faileds, p.Early = bars[0].String(), bars[1].String(), bars[2].String()
}
