package dashboards

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/qanat-io/qanat/broker/telemetry"
)

// grafana stands for what Grafana puts into an expression.
var grafana = regexp.MustCompile(`\$(__rate_interval|__range)`)

func filled(expr string) string {
	expr = grafana.ReplaceAllString(expr, "1m")
	return regexp.MustCompile(`\$[a-z]+`).ReplaceAllString(expr, ".*")
}

// expressions are all of panels and rules, by what they belong to.
func expressions() map[string]string {
	all := map[string]string{}
	for _, d := range Dashboards {
		for _, p := range d.Panels {
			for _, q := range p.Queries {
				all[d.Title+": "+p.Title+": "+q.Legend] = filled(q.PromQL())
			}
		}
	}
	for _, a := range Alerts(Options{}) {
		all[a.Name] = a.PromQL(Options{})
	}
	return all
}

// Prometheus understands every expression, each metric in it is declared, of a kind that fits what is done with it, and has the labels
// that the expression asks for.
func TestExpressions(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	for what, text := range expressions() {
		expr, err := p.ParseExpr(text)
		if err != nil {
			t.Errorf("%s: %s: %v", what, text, err)
			continue
		}
		parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
			switch n := n.(type) {
			case *parser.VectorSelector:
				checkSelector(t, what, n)
			case *parser.Call:
				checkRate(t, what, n)
			case *parser.AggregateExpr:
				checkGrouping(t, what, n)
			}
			return nil
		})
	}
}

// labelsOf are what series of the metric have, Prometheus' own included; nil: no such metric.
func labelsOf(name string) (list []string, kind string) {
	own := []string{"job", "instance"}
	if name == "up" {
		return own, "gauge"
	}
	for _, d := range telemetry.Declarations {
		labels := append(slices.Clone(own), d.Attributes...)
		switch kind := d.Kind.String(); {
		case name == d.Prometheus() && kind != "histogram":
			return labels, kind
		case kind == "histogram" && name == d.Prometheus()+"_bucket":
			return append(labels, "le"), "counter"
		case kind == "histogram" && (name == d.Prometheus()+"_count" || name == d.Prometheus()+"_sum"):
			return labels, "counter"
		}
	}
	return nil, ""
}

func checkSelector(t *testing.T, what string, s *parser.VectorSelector) {
	t.Helper()
	has, _ := labelsOf(s.Name)
	if has == nil {
		t.Errorf("%s: %s is not declared", what, s.Name)
	}
	for _, m := range s.LabelMatchers {
		if m.Name != model.MetricNameLabel && !slices.Contains(has, m.Name) {
			t.Errorf("%s: %s has no label %s", what, s.Name, m.Name)
		}
	}
}

// gaugesThatGrow are gauges by their OpenTelemetry name that count all the same.
var gaugesThatGrow = []string{"qanat_raft_commit", "kafka_consumer_group_offset_sum"}

// checkRate finds rates of what does not grow.
func checkRate(t *testing.T, what string, c *parser.Call) {
	t.Helper()
	if f := c.Func.Name; f != "rate" && f != "increase" && f != "irate" {
		return
	}
	name := c.Args[0].(*parser.MatrixSelector).VectorSelector.(*parser.VectorSelector).Name
	if _, kind := labelsOf(name); kind != "counter" && !slices.Contains(gaugesThatGrow, name) {
		t.Errorf("%s: %s of %s, which is a %s", what, c.Func.Name, name, kind)
	}
}

// checkGrouping finds labels that none of the metrics below has.
func checkGrouping(t *testing.T, what string, a *parser.AggregateExpr) {
	t.Helper()
	for _, label := range a.Grouping {
		found := false
		parser.Inspect(a.Expr, func(n parser.Node, _ []parser.Node) error {
			if s, ok := n.(*parser.VectorSelector); ok {
				has, _ := labelsOf(s.Name)
				found = found || slices.Contains(has, label)
			}
			return nil
		})
		if !found {
			t.Errorf("%s: nothing has the label %s", what, label)
		}
	}
}

// A metric that is not declared cannot be named.
func TestUndeclaredMetric(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was")
		}
	}()
	expand("sum(<qanat.no.such>)", "")
}

// What lies in the repository is what the package says today.
func TestExamplesAreCurrent(t *testing.T) {
	files, err := Examples()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join("../../..", f.Path))
		if err != nil || string(text) != string(f.Text) {
			t.Errorf("%s is not current: run go generate ./broker/telemetry/dashboards (%v)", f.Path, err)
		}
	}
}

// A dashboard is JSON whose panels have different ids, lie side by side, and say by title, unit and description what they show; values that
// may be below zero are not cut off there.
func TestDashboardsAreWhole(t *testing.T) {
	for _, d := range Dashboards {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				ID                 int
				Title, Description string
				FieldConfig        struct {
					Defaults struct {
						Unit string
						Min  *float64
					}
				}
				GridPos struct{ X, Y, W, H int }
			}
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatal(err)
		}
		taken := map[[2]int]string{}
		for i, p := range board.Panels {
			if p.ID != i+1 || p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: %+v", d.Title, p)
			}
			for _, q := range d.Panels[i].Queries {
				if strings.HasPrefix(q.Expr, "<qanat.broker.clock_offset>") && p.FieldConfig.Defaults.Min != nil {
					t.Errorf("%s: %s hides what is below %v", d.Title, p.Title, *p.FieldConfig.Defaults.Min)
				}
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Errorf("%s: %s lies on %s", d.Title, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

// Every alert says what it means, what to look at and what to do, and its annotation leads to that.
func TestRunbooks(t *testing.T) {
	rules, err := Rules(Options{})
	if err != nil {
		t.Fatal(err)
	}
	books := Runbooks()
	for _, a := range Alerts(Options{}) {
		if a.Means == "" || a.Look == "" || a.Do == "" || a.Severity != "critical" && a.Severity != "warning" || len(a.Trips) == 0 || len(a.Calm) == 0 {
			t.Errorf("%s is not whole", a.Name)
		}
		if !strings.Contains(books, "\n## "+a.Name+"\n") || !strings.Contains(string(rules), "runbooks.md#"+strings.ToLower(a.Name)+"\n") {
			t.Errorf("%s has no runbook, or no way to it", a.Name)
		}
	}
}

// promtool accepts rules and configuration; each alert fires on the series that it is for, and on no others.
func TestRulesWithPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: promtool is not installed (Debian's package prometheus has it)")
	}
	files, err := Prometheus(Options{}, []string{"127.0.0.1:9644"})
	if err != nil {
		t.Fatal(err)
	}
	tests, err := RuleTests(Options{}, "qanat-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secured, err := Prometheus(Options{TLS: true, CA: filepath.Join(dir, "ca.pem")}, []string{"127.0.0.1:9644"})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(secured[1].Text); !strings.Contains(text, "scheme: https") || !strings.Contains(text, "ca_file: "+dir) {
		t.Errorf("over TLS: %s", text)
	}
	files = append(files, File{"ca.pem", nil}, File{"secured.yaml", secured[1].Text})
	for _, f := range append(files, File{Path: "tests.yaml", Text: tests}) {
		if err := os.WriteFile(filepath.Join(dir, f.Path), f.Text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "qanat-alerts.yaml"}, {"check", "config", "prometheus.yaml"}, {"check", "config", "secured.yaml"}, {"test", "rules", "tests.yaml"}} {
		c := exec.CommandContext(t.Context(), promtool, args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
