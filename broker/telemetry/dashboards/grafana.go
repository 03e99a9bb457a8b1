package dashboards

import (
	"encoding/json"
	"fmt"
)

// Dashboard is one page of panels.
type Dashboard struct {
	UID, Title, About string
	Variables         []variable
	Panels            []Panel
}

// Panel is one picture, or figure.
type Panel struct {
	Title, About string
	Kind         string // stat, timeseries
	Unit         string // Grafana's
	Width        int    // of 24
	Stack        bool
	Max          float64 // of the axis; 0: as it comes
	Signed       bool    // its values may be below zero
	Red          float64 // a stat's threshold: from there it is red; 0: none
	RedBelow     bool    // below it, rather
	Queries      []Query
}

// Query is one expression, with metrics as expand wants them, and what its series are called.
type Query struct{ Expr, Legend string }

// variable is a choice at the top of a dashboard: the values of a metric's label.
type variable struct{ name, label, metric string }

// matchers are put into every metric of a panel.
const matchers = `job=~"$job",instance=~"$instance"`

// PromQL is the query for Prometheus, Grafana's variables included.
func (q Query) PromQL() string { return expand(q.Expr, matchers) }

func stat(title, unit, expr, about string) Panel {
	return Panel{Title: title, Kind: "stat", Unit: unit, Width: 3, About: about, Queries: []Query{{expr, ""}}}
}

func (p Panel) red(from float64) Panel  { p.Red = from; return p }
func (p Panel) low(below float64) Panel { p.Red, p.RedBelow = below, true; return p }

// graph is a time series; queries are expression, legend, expression, legend, …
func graph(title, unit, about string, queries ...string) Panel {
	p := Panel{Title: title, Kind: "timeseries", Unit: unit, Width: 8, About: about}
	for i := 0; i+1 < len(queries); i += 2 {
		p.Queries = append(p.Queries, Query{queries[i], queries[i+1]})
	}
	return p
}

func (p Panel) stacked() Panel { p.Stack = true; return p }
func (p Panel) wide() Panel    { p.Width = 12; return p }
func (p Panel) whole() Panel   { p.Max = 1; return p }
func (p Panel) signed() Panel  { p.Signed = true; return p }

type object = map[string]any

// JSON is the dashboard as Grafana imports it.
func (d Dashboard) JSON() ([]byte, error) {
	source := object{"type": "prometheus", "uid": "${datasource}"}
	variables := []object{{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}}
	for _, v := range d.all() {
		q := fmt.Sprintf("label_values(%s, %s)", prometheusName(v.metric), v.label)
		variables = append(variables, object{
			"name": v.name, "label": v.name, "type": "query", "datasource": source, "definition": q,
			"query": object{"query": q, "refId": v.name}, "refresh": 2, "sort": 1,
			"multi": true, "includeAll": true, "allValue": ".*", "current": object{"text": []string{"All"}, "value": []string{"$__all"}},
		})
	}
	var panels []object
	x, y, height := 0, 0, 0
	for i, p := range d.Panels {
		h := 8
		if p.Kind == "stat" {
			h = 4
		}
		if x+p.Width > 24 || height != 0 && h != height {
			x, y = 0, y+height
		}
		height = h
		o := p.object(i+1, source)
		o["gridPos"] = object{"x": x, "y": y, "w": p.Width, "h": h}
		x += p.Width
		panels = append(panels, o)
	}
	return json.MarshalIndent(object{
		"uid": d.UID, "title": d.Title, "description": d.About, "tags": []string{"qanat", "kafka"}, "schemaVersion": 39, "version": 1,
		"editable": true, "graphTooltip": 1, "refresh": "30s", "time": object{"from": "now-1h", "to": "now"}, "timezone": "browser",
		"templating": object{"list": variables}, "panels": panels,
		"links": []object{{"type": "dashboards", "title": "Qanat", "tags": []string{"qanat"}, "asDropdown": true, "keepTime": true, "includeVars": true}},
	}, "", "  ")
}

// all are the variables of every dashboard, and its own.
func (d Dashboard) all() []variable {
	return append([]variable{{"job", "job", "qanat.raft.term"}, {"instance", "instance", "qanat.raft.term"}}, d.Variables...)
}

func (p Panel) object(id int, source object) object {
	var targets []object
	for i, q := range p.Queries {
		t := object{"refId": string(rune('A' + i)), "datasource": source, "expr": q.PromQL(), "editorMode": "code", "range": true}
		if q.Legend != "" {
			t["legendFormat"] = q.Legend
		}
		targets = append(targets, t)
	}
	defaults := object{"unit": p.Unit, "min": 0}
	if p.Max > 0 {
		defaults["max"] = p.Max
	}
	if p.Signed {
		delete(defaults, "min")
	}
	options := object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	if p.Kind == "stat" {
		delete(defaults, "min")
		steps := []object{{"color": "green", "value": nil}}
		switch {
		case p.Red != 0 && p.RedBelow:
			steps = []object{{"color": "red", "value": nil}, {"color": "green", "value": p.Red}}
		case p.Red != 0:
			steps = append(steps, object{"color": "red", "value": p.Red})
		}
		defaults["thresholds"] = object{"mode": "absolute", "steps": steps}
		options = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
	} else {
		custom := object{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false}
		if p.Stack {
			custom["stacking"], custom["fillOpacity"] = object{"mode": "normal", "group": "A"}, 40
		}
		defaults["custom"] = custom
	}
	return object{
		"id": id, "type": p.Kind, "title": p.Title, "description": p.About, "datasource": source, "targets": targets,
		"fieldConfig": object{"defaults": defaults, "overrides": []object{}}, "options": options,
	}
}
