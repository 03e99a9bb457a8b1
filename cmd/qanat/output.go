package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
)

// Output formats.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// outputs gives a command -o.
func (a *app) outputs(c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&a.output, "output", "o", formatTable, "table, wide, json or yaml")
	cobra.CheckErr(c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formatTable, formatWide, formatJSON, formatYAML}, cobra.ShellCompDirectiveNoFileComp)))
	check := c.PreRunE
	c.PreRunE = func(cmd *cobra.Command, args []string) error {
		switch a.output {
		case formatTable, formatWide, formatJSON, formatYAML:
		default:
			return failf(exitUsage, "", "--output %q: must be table, wide, json or yaml", a.output)
		}
		if check != nil {
			return check(cmd, args)
		}
		return nil
	}
	return c
}

// table is what people read. Columns of which the name begins with + are shown with -o wide only;
// those that begin with # are numbers, set to the right.
type table struct {
	columns []string
	rows    [][]string
	// footer is a line below, shown with the table only.
	footer string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// show prints data as JSON or YAML, or the tables.
func (a *app) show(data any, tables ...table) error {
	switch a.output {
	case formatJSON:
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(data)
	case formatYAML:
		return showYAML(a.stdout, data)
	}
	for i, t := range tables {
		if i > 0 && len(t.columns) > 0 {
			fmt.Fprintln(a.stdout)
		}
		t.print(a.stdout, a.output == formatWide)
	}
	return nil
}

// showYAML goes through JSON, so that both have the same names in the same order.
func showYAML(w io.Writer, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Load(text, &node); err != nil {
		return err
	}
	blockStyle(&node)
	out, err := yaml.Dump(&node)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// blockStyle undoes the flow style and the quotes that the nodes have from JSON.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	if (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

func (t table) print(w io.Writer, wide bool) {
	type column struct {
		name  string
		index int
		right bool
		width int
	}
	var shown []column
	for i, name := range t.columns {
		if rest, ok := strings.CutPrefix(name, "+"); ok {
			if !wide {
				continue
			}
			name = rest
		}
		rest, right := strings.CutPrefix(name, "#")
		shown = append(shown, column{rest, i, right, utf8.RuneCountInString(rest)})
	}
	for i := range shown {
		for _, row := range t.rows {
			shown[i].width = max(shown[i].width, utf8.RuneCountInString(row[shown[i].index]))
		}
	}
	line := func(cell func(column) string) {
		var b strings.Builder
		for i, c := range shown {
			if i > 0 {
				b.WriteString("  ")
			}
			text := cell(c)
			pad := strings.Repeat(" ", c.width-utf8.RuneCountInString(text))
			if c.right {
				b.WriteString(pad + text)
			} else {
				b.WriteString(text + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	if len(shown) > 0 {
		line(func(c column) string { return c.name })
		for _, row := range t.rows {
			line(func(c column) string { return row[c.index] })
		}
	}
	if t.footer != "" {
		fmt.Fprintln(w, t.footer)
	}
}

// showFields prints a table of names and values, without a heading.
func (a *app) showFields(data any, pairs ...string) error {
	if a.output == formatJSON || a.output == formatYAML {
		return a.show(data)
	}
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		width = max(width, len(pairs[i]))
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(a.stdout, "%-*s  %s\n", width, pairs[i], pairs[i+1])
	}
	return nil
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit && n > -unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for ; (v >= unit || v <= -unit) && i < 4; i++ {
		v /= unit
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}

// secondsText writes a length of time for people.
func secondsText(s float64) string {
	switch {
	case s < 0:
		return "-"
	case s < 10:
		return fmt.Sprintf("%.1fs", s)
	case s < 120:
		return fmt.Sprintf("%.0fs", s)
	case s < 2*3600:
		return fmt.Sprintf("%dm%02ds", int(s)/60, int(s)%60)
	case s < 48*3600:
		return fmt.Sprintf("%dh%02dm", int(s)/3600, int(s)/60%60)
	}
	return fmt.Sprintf("%dd%02dh", int(s)/86400, int(s)/3600%24)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
