// Command panels draws the generated dashboards from what a Prometheus holds, as a page of plain SVG: for looking at every panel where there is no
// Grafana.
//
//	panels --prometheus http://127.0.0.1:9090 --dashboard qanat-overview --minutes 5 > overview.html
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html"
	"math"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/qanat-io/qanat/broker/telemetry/dashboards"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "panels:", err)
		os.Exit(1)
	}
}

func run() error {
	server := flag.String("prometheus", "http://127.0.0.1:9090", "its address")
	uid := flag.String("dashboard", "qanat-overview", "uid of the dashboard")
	minutes := flag.Float64("minutes", 5, "how much to show")
	end := flag.String("end", "", "until when, as RFC 3339 has it (default now)")
	flag.Parse()
	until := time.Now()
	if *end != "" {
		var err error
		if until, err = time.Parse(time.RFC3339, *end); err != nil {
			return err
		}
	}
	for _, d := range dashboards.Dashboards {
		if d.UID == *uid {
			page, err := draw(*server, d, until, time.Duration(*minutes*float64(time.Minute)))
			fmt.Print(page)
			return err
		}
	}
	return errors.New("no dashboard has the uid " + *uid)
}

// line is one series of a panel.
type line struct {
	name   string
	points [][2]float64 // seconds, value
}

const style = `body{background:#111217;color:#ccccdc;font:13px Inter,Helvetica,Arial,sans-serif;margin:12px;width:1560px}
h1{font-size:18px;font-weight:500;margin:4px 0 12px}.grid{display:grid;grid-template-columns:repeat(24,1fr);gap:8px}
.p{background:#181b1f;border:1px solid #2c3235;border-radius:3px;padding:8px;overflow:hidden}.t{font-weight:500;margin-bottom:4px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.v{font-size:30px;font-weight:500;text-align:center;padding:10px 0}.l{font-size:11px;color:#9fa7b3;line-height:1.5;height:50px;overflow:hidden}.l i{display:inline-block;width:10px;height:3px;margin:0 4px 3px 8px}
text{fill:#9fa7b3;font-size:10px}`

var colors = []string{"#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#f2495c", "#37872d", "#fade2a", "#8ab8ff", "#ffb357"}

func draw(server string, d dashboards.Dashboard, end time.Time, span time.Duration) (string, error) {
	var w strings.Builder
	fmt.Fprintf(&w, "<!doctype html><meta charset=utf-8><title>%s</title><style>%s</style><h1>%s</h1><div class=grid>", d.Title, style, html.EscapeString(d.Title))
	to := float64(end.Unix())
	from := to - span.Seconds()
	for _, p := range d.Panels {
		var lines []line
		for _, q := range p.Queries {
			l, err := ask(server, q, from, to)
			if err != nil {
				return w.String(), fmt.Errorf("%s: %w", p.Title, err)
			}
			lines = append(lines, l...)
		}
		fmt.Fprintf(&w, `<div class=p style="grid-column:span %d"><div class=t>%s</div>`, p.Width, html.EscapeString(p.Title))
		if p.Kind == "stat" {
			figure(&w, p, lines)
		} else {
			graph(&w, p, lines, from, to)
		}
		w.WriteString("</div>")
	}
	w.WriteString("</div>\n")
	return w.String(), nil
}

var (
	variable = regexp.MustCompile(`\$[a-z]+`)
	label    = regexp.MustCompile(`\{\{([a-z_]+)\}\}`)
)

// ask is a query over the time shown, with Grafana's variables standing for everything.
func ask(server string, q dashboards.Query, from, to float64) (lines []line, err error) {
	expr := strings.NewReplacer("$__rate_interval", "15s", "$__range", "5m").Replace(q.PromQL())
	expr = variable.ReplaceAllString(expr, ".*")
	step := max(1, (to-from)/200)
	r, err := http.Get(fmt.Sprintf("%s/api/v1/query_range?query=%s&start=%f&end=%f&step=%f", server, url.QueryEscape(expr), from, to, step))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil || answer.Error != "" {
		return nil, errors.Join(err, errors.New(answer.Error))
	}
	for _, s := range answer.Data.Result {
		l := line{name: label.ReplaceAllStringFunc(q.Legend, func(m string) string { return s.Metric[m[2:len(m)-2]] })}
		for _, v := range s.Values {
			at, _ := v[0].(float64)
			text, _ := v[1].(string)
			if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
				l.points = append(l.points, [2]float64{at, f})
			}
		}
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
	return lines, nil
}

// figure is the last value, in the colour of its threshold.
func figure(w *strings.Builder, p dashboards.Panel, lines []line) {
	if len(lines) == 0 || len(lines[0].points) == 0 {
		w.WriteString(`<div class=v style="color:#9fa7b3">No data</div>`)
		return
	}
	points := lines[0].points
	v := points[len(points)-1][1]
	color := colors[0]
	if p.Red != 0 && (v >= p.Red) != p.RedBelow {
		color = "#f2495c"
	}
	fmt.Fprintf(w, `<div class=v style="color:%s">%s</div>`, color, scaled(v, p.Unit))
}

func graph(w *strings.Builder, p dashboards.Panel, lines []line, from, to float64) {
	const height, left, bottom = 150.0, 66.0, 16.0
	width := 61.25 * float64(p.Width)
	if p.Stack {
		lines = stacked(lines)
	}
	top := p.Max
	for _, l := range lines {
		for _, v := range l.points {
			top = max(top, v[1])
		}
	}
	if top == 0 {
		top = 1
	}
	x := func(at float64) float64 { return left + (at-from)/(to-from)*(width-left-4) }
	y := func(v float64) float64 { return height - bottom - v/top*(height-bottom-8) }
	fmt.Fprintf(w, `<svg viewBox="0 0 %g %g" width="100%%">`, width, height)
	for i := range 4 {
		v := top * float64(i) / 3
		fmt.Fprintf(w, `<line x1="%g" x2="%g" y1="%.1f" y2="%.1f" stroke="#2c3235"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`, left, width-4, y(v), y(v), left-4, y(v)+3, scaled(v, p.Unit))
	}
	for i := 0; i <= 4; i++ {
		at := from + (to-from)*float64(i)/4
		fmt.Fprintf(w, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`, min(max(x(at), left+14), width-28), height-3, time.Unix(int64(at), 0).UTC().Format("15:04:05"))
	}
	for i := len(lines) - 1; i >= 0; i-- {
		var path strings.Builder
		for j, v := range lines[i].points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], x(v[0]), y(v[1]))
		}
		color := colors[i%len(colors)]
		if v := lines[i].points; p.Stack && len(v) > 0 {
			// Those below it are drawn over it.
			fmt.Fprintf(w, `<path d="%sL%.1f %.1fL%.1f %.1fZ" fill="#181b1f"/><path d="%[1]sL%.1[2]f %.1[3]fL%.1[4]f %.1[5]fZ" fill="%[6]s" fill-opacity="0.4"/>`,
				path.String(), x(v[len(v)-1][0]), y(0), x(v[0][0]), y(0), color)
		}
		fmt.Fprintf(w, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, path.String(), color)
	}
	w.WriteString("</svg><div class=l>")
	for i, l := range lines {
		fmt.Fprintf(w, `<i style="background:%s"></i>%s`, colors[i%len(colors)], html.EscapeString(l.name))
	}
	if len(lines) == 0 {
		w.WriteString("No data")
	}
	w.WriteString("</div>")
}

// stacked adds each line to those below it, by time.
func stacked(lines []line) []line {
	sum := map[float64]float64{}
	for i := range lines {
		for j := range lines[i].points {
			at := lines[i].points[j][0]
			sum[at] += lines[i].points[j][1]
			lines[i].points[j][1] = sum[at]
		}
	}
	return lines
}

// scaled is a value as Grafana would write it.
func scaled(v float64, unit string) string {
	switch unit {
	case "percentunit":
		return fmt.Sprintf("%.3g%%", v*100)
	case "s":
		switch {
		case v == 0:
			return "0 s"
		case v < 0.001:
			return fmt.Sprintf("%.3g µs", v*1e6)
		case v < 1:
			return fmt.Sprintf("%.3g ms", v*1e3)
		case v >= 120:
			return fmt.Sprintf("%.3g min", v/60)
		}
		return fmt.Sprintf("%.3g s", v)
	case "bytes", "Bps":
		suffix := map[string]string{"bytes": "B", "Bps": "B/s"}[unit]
		for _, p := range []string{"", "Ki", "Mi", "Gi"} {
			if v < 1024 || p == "Gi" {
				return fmt.Sprintf("%.*g %s%s", 3+int(v/1000), v, p, suffix)
			}
			v /= 1024
		}
	case "currencyUSD":
		return fmt.Sprintf("$%.2f", v)
	}
	suffix := map[string]string{"cps": " /s", "reqps": " /s"}[unit]
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M%s", v/1e6, suffix)
	case v >= 2e3:
		return fmt.Sprintf("%.3g k%s", v/1e3, suffix)
	}
	if v >= 100 {
		v = math.Round(v)
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'g', 6, 64) + suffix
}
