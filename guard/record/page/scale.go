package page

// A scale is the height of a plot in entries.
type scale struct {
	top float64
	off bool // the limit is so far above the entries that it is not on the plot
}

// little is the share of the limit under which entries could not be seen on a plot
// that shows it.
const little = 0.15

// headroom is what a plot shows above its highest line.
const headroom = 1.1

// scaleOf has room for the limit, for the approved ceiling where that is not far, and
// for what exceeds both.
func (r *Report) scaleOf(w window) scale {
	high, limit := 1, 0
	for _, b := range r.series.within(w.from, w.to) {
		high, limit = max(high, b.high), max(limit, b.limitHigh)
	}
	if float64(high) < little*float64(limit) {
		return scale{top: float64(high) * 1.5, off: true}
	}
	top := max(high, limit)
	if float64(r.ceiling) < 1.3*float64(top) {
		top = max(top, r.ceiling)
	}
	return scale{top: float64(top) * headroom}
}
