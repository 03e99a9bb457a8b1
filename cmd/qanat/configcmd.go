package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/metadata/config"
)

func (a *app) configCommand() *cobra.Command {
	return a.parent("config", "Check a broker's configuration", a.configCheckCommand())
}

func (a *app) configCheckCommand() *cobra.Command {
	var path string
	var sets []string
	var explain bool
	c := a.outputs(&cobra.Command{
		Use:   "check [FILE]",
		Short: "Tell whether a configuration is valid, and what it amounts to",
		Long: `Read a configuration exactly as serve does: file, QANAT_* environment, --set. Everything that is wrong
with it is told at once, with the line. With --explain, every key that was set is shown with its value and where
it came from; with -o wide, all keys are, and what they mean.`,
		Example: "  qanat config check qanat.yaml\n  qanat config check --explain -o wide --set num.partitions=4",
		Args:    wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				path = args[0]
			}
			cfg, err := a.load(config.Sources{File: path, Sets: sets})
			if err != nil {
				return err
			}
			if explain {
				return a.explain(cfg)
			}
			set := 0
			for _, e := range cfg.DescribeBroker(nil, nil) {
				if e.Source != config.Default && e.Synonyms[0].Name == e.Key.Name {
					set++
				}
			}
			return a.showFields(map[string]any{"valid": true, "keys_set": set}, "valid", count(set, "key")+" set")
		},
	})
	c.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	c.Flags().StringArrayVar(&sets, "set", nil, "KEY=VALUE, over the file; may be repeated")
	c.Flags().BoolVar(&explain, "explain", false, "show values and where they came from")
	a.completeConfigKeys(c)
	return c
}

// explained is one key of config check --explain.
type explained struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	From    string `json:"from"`
	Changes string `json:"changes"` // at restart, or while running
	Default string `json:"default"`
	Doc     string `json:"doc"`
}

func (a *app) explain(cfg *config.Broker) error {
	var list []explained
	t := table{columns: []string{"KEY", "VALUE", "FROM", "CHANGES", "+DEFAULT", "+MEANING"}}
	hidden := 0
	for _, e := range cfg.DescribeBroker(nil, nil) {
		x := explained{Key: e.Key.Name, Value: e.Value, From: "default", Changes: "while running", Default: e.Key.Default, Doc: e.Key.Doc}
		if e.Key.ReadOnly {
			x.Changes = "at restart"
		}
		if e.Source != config.Default {
			x.From = e.From
		}
		if e.Key.Sensitive && e.Source != config.Default {
			x.Value = "(hidden)"
		}
		list = append(list, x)
		if e.Source == config.Default && a.output == formatTable {
			hidden++
			continue
		}
		doc, _, _ := strings.Cut(x.Doc, "\n")
		t.add(x.Key, x.Value, x.From, x.Changes, x.Default, doc)
	}
	if hidden > 0 {
		t.footer = fmt.Sprintf("%s at their defaults; -o wide shows them", count(hidden, "key"))
	}
	return a.show(list, t)
}
