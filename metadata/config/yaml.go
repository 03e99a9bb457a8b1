package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// yaml reads one document whose keys are flat, nested, or both:
//
//	log.segment.bytes: 1048576
//	log:
//	  retention: {hours: 12}
//	listeners: [PLAINTEXT://:9092, OUTSIDE://:9093]
func (l *loader) yaml(path string, text []byte) {
	decoder, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		l.fail(path, err)
		return
	}
	var doc yaml.Node
	switch err := decoder.Load(&doc); {
	case errors.Is(err, io.EOF):
		return // empty, or nothing but comments
	case err != nil:
		l.yamlError(path, err)
		return
	}
	var second yaml.Node
	if err := decoder.Load(&second); err == nil {
		l.fail(at(path, &second), errors.New("a configuration is one document; here begins another"))
	} else if !errors.Is(err, io.EOF) {
		l.yamlError(path, err)
	}
	f := fileReader{l, path, map[string]int{}}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		l.fail(at(path, root), errors.New("a configuration is a list of KEY: VALUE lines"))
		return
	}
	f.mapping("", root)
}

// yamlError reports bad syntax as FILE:LINE.
func (l *loader) yamlError(path string, err error) {
	var le *yaml.LoadError
	if errors.As(err, &le) && le.Mark.Line > 0 {
		l.fail(fmt.Sprintf("%s:%d", path, le.Mark.Line), errors.New(le.Message))
		return
	}
	l.fail(path, err)
}

func at(path string, n *yaml.Node) string { return fmt.Sprintf("%s:%d", path, max(n.Line, 1)) }

// fileReader walks a document's nodes.
type fileReader struct {
	l    *loader
	path string
	seen map[string]int // key → line
}

func (f fileReader) mapping(prefix string, n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Value == "" || k.ShortTag() == "!!merge" {
			f.l.fail(at(f.path, k), errors.New("a key must be a plain name"))
			continue
		}
		f.value(prefix+k.Value, k, v)
	}
}

func (f fileReader) value(key string, k, v *yaml.Node) {
	from := at(f.path, k)
	var text string
	switch v.Kind {
	case yaml.MappingNode:
		f.mapping(key+".", v)
		return
	case yaml.SequenceNode:
		items := make([]string, 0, len(v.Content))
		for _, item := range v.Content {
			if item.Kind != yaml.ScalarNode {
				f.l.fail(at(f.path, item), fmt.Errorf("%s: a list's items must be plain values", shorten(key)))
				return
			}
			items = append(items, item.Value)
		}
		text = strings.Join(items, ",")
	case yaml.ScalarNode:
		if v.ShortTag() == "!!null" {
			if _, known := Lookup(BrokerScope, key); known {
				f.l.fail(from, fmt.Errorf("%s has no value", key))
				return
			}
		}
		text = v.Value
		if v.ShortTag() == "!!bool" {
			text = strings.ToLower(text)
		}
	default:
		f.l.fail(from, fmt.Errorf("%s: aliases are not understood here; write the value out", shorten(key)))
		return
	}
	if line, twice := f.seen[key]; twice {
		f.l.fail(from, fmt.Errorf("%s is set a second time; first in line %d", shorten(key), line))
		return
	}
	f.seen[key] = k.Line
	f.l.assign(key, text, from)
}
