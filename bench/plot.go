package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The plot's measures, in pixels, and the ratios at the ends of its axis.
const (
	plotLabels = 390
	plotWidth  = 560
	plotValues = 190
	plotRow    = 20
	plotTop    = 60
	plotLeast  = 1.0 / 64
	plotMost   = 16.0
)

// plotX returns where a ratio lies on the axis, which is logarithmic: half and double are as far from 1.
func plotX(ratio float64) float64 {
	ratio = min(max(ratio, plotLeast), plotMost)
	return plotLabels + plotWidth*math.Log2(ratio/plotLeast)/math.Log2(plotMost/plotLeast)
}

// writePlot draws the verdicts on ratios as SVG: a bar from 1 to the median, a line from the lowest to the
// highest round, and a tick at the target.
func writePlot(w io.Writer, verdicts []verdict) error {
	var rows []verdict
	for _, v := range verdicts {
		if v.ToKafka && v.Measured {
			rows = append(rows, v)
		}
	}
	var b strings.Builder
	height := plotTop + plotRow*len(rows) + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotLabels+plotWidth+plotValues, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="10" y="18" font-size="14">Walser / Apache Kafka: bar to the median, line over the rounds, black tick at the target</text>`+"\n")
	for ratio := plotLeast; ratio <= plotMost; ratio *= 2 {
		x := plotX(ratio)
		label := fmt.Sprintf("%v×", ratio)
		if ratio < 1 {
			label = fmt.Sprintf("1/%v", 1/ratio)
		}
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#555">%s</text>`+"\n",
			x, plotTop-14, x, height-10, x, plotTop-18, label)
	}
	for i, v := range rows {
		y := plotTop + plotRow*i
		from, to := min(plotX(1), plotX(v.Value.Median)), max(plotX(1), plotX(v.Value.Median))
		colour := "#c0392b"
		if v.Holds {
			colour = "#2e8b57"
		}
		label := v.Case + ": " + v.Figure
		if v.Peer != peerWalser {
			label = v.Peer + ", " + label
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, plotLabels-8, y+13, html.EscapeString(label))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`, from, y+4, to-from, plotRow-8, colour)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#333"/>`, plotX(v.Value.Min), y+plotRow/2, plotX(v.Value.Max), y+plotRow/2)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="black" stroke-width="2"/>`, plotX(v.Bound), y+1, plotX(v.Bound), y+plotRow-1)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s× (%s; %d of %d)</text>`+"\n", plotLabels+plotWidth+8, y+13, number(v.Value.Median), html.EscapeString(v.target.String()), v.HoldsIn, v.Value.Rounds)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
