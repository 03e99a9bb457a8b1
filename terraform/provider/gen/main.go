// Command gen writes the provider's reference from its schemas, one page for each resource and data source, and the examples with them. It is
// what tfplugindocs does, without a registry.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	dataschema "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"

	qanat "github.com/qanat-io/qanat/terraform/provider"
)

func main() {
	to := flag.String("docs", "docs", "the directory of the pages")
	examples := flag.String("examples", "examples", "the directory of the examples, NAME.tf for each page")
	flag.Parse()
	if err := write(*to, *examples); err != nil {
		log.Fatal(err)
	}
}

func write(to, examples string) error {
	ctx := context.Background()
	p := qanat.New("", os.Getenv)()
	pages := map[string]string{}
	page := func(path, title, description, example string, attributes []attribute, imported string) error {
		text, err := os.ReadFile(filepath.Join(examples, example+".tf"))
		if err != nil {
			return err
		}
		pages[path] = render(title, description, string(text), attributes, imported)
		return nil
	}

	var ps provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &ps)
	if err := page("index.md", "Provider qanat", ps.Schema.MarkdownDescription, "provider", attributesOf(ps.Schema.Attributes), ""); err != nil {
		return err
	}
	for _, make := range p.Resources(ctx) {
		r := make()
		var m resource.MetadataResponse
		var s resource.SchemaResponse
		r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "qanat"}, &m)
		r.Schema(ctx, resource.SchemaRequest{}, &s)
		short := strings.TrimPrefix(m.TypeName, "qanat_")
		if err := page("resources/"+short+".md", "Resource "+m.TypeName, s.Schema.MarkdownDescription, short, attributesOf(s.Schema.Attributes), qanat.ImportExamples[m.TypeName]); err != nil {
			return err
		}
	}
	for _, make := range p.DataSources(ctx) {
		d := make()
		var m datasource.MetadataResponse
		var s datasource.SchemaResponse
		d.Metadata(ctx, datasource.MetadataRequest{ProviderTypeName: "qanat"}, &m)
		d.Schema(ctx, datasource.SchemaRequest{}, &s)
		short := strings.TrimPrefix(m.TypeName, "qanat_")
		if err := page("data-sources/"+short+".md", "Data source "+m.TypeName, s.Schema.MarkdownDescription, "data_"+short, attributesOf(s.Schema.Attributes), ""); err != nil {
			return err
		}
	}

	if err := os.RemoveAll(to); err != nil {
		return err
	}
	for path, text := range pages {
		path = filepath.Join(to, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// attribute is what all kinds of schemas have.
type attribute interface {
	GetMarkdownDescription() string
	IsRequired() bool
	IsOptional() bool
	IsComputed() bool
	IsSensitive() bool
}

// named is an attribute with its name, and those below it.
type named struct {
	name, kind string
	attribute
	below []named
}

func attributesOf[A any](m map[string]A) (out []attribute) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		a := any(m[name]).(attribute)
		n := named{name: name, attribute: a}
		switch v := any(a).(type) {
		case providerschema.SingleNestedAttribute:
			n.kind, n.below = "object", nested(attributesOf(v.Attributes))
		case dataschema.ListNestedAttribute:
			n.kind, n.below = "list of objects", nested(attributesOf(v.NestedObject.Attributes))
		case schema.SingleNestedAttribute:
			n.kind, n.below = "object", nested(attributesOf(v.Attributes))
		default:
			n.kind = kindOf(a)
		}
		out = append(out, n)
	}
	return out
}

func nested(list []attribute) (out []named) {
	for _, a := range list {
		out = append(out, a.(named))
	}
	return out
}

// kindOf is a type as one writes it in Terraform.
func kindOf(a attribute) string {
	switch v := a.(type) {
	case schema.MapAttribute:
		return "map of " + words[fmt.Sprint(v.ElementType)]
	case dataschema.MapAttribute:
		return "map of " + words[fmt.Sprint(v.ElementType)]
	case dataschema.ListAttribute:
		return "list of " + words[fmt.Sprint(v.ElementType)]
	case schema.StringAttribute, dataschema.StringAttribute, providerschema.StringAttribute:
		return "string"
	case schema.Int64Attribute, dataschema.Int64Attribute, providerschema.Int64Attribute:
		return "number"
	case schema.BoolAttribute, dataschema.BoolAttribute, providerschema.BoolAttribute:
		return "bool"
	}
	log.Fatalf("an attribute of the type %T has no words here", a)
	return ""
}

var words = map[string]string{"basetypes.StringType": "strings", "basetypes.Int64Type": "numbers"}

func render(title, description, example string, attributes []attribute, imported string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n```terraform\n%s```\n", title, description, example)
	for _, part := range []struct {
		title string
		has   func(attribute) bool
	}{
		{"Required", attribute.IsRequired},
		{"Optional", attribute.IsOptional},
		{"Read only", func(a attribute) bool { return a.IsComputed() && !a.IsOptional() }},
	} {
		first := true
		for _, a := range attributes {
			if !part.has(a) {
				continue
			}
			if first {
				fmt.Fprintf(&b, "\n## %s\n\n", part.title)
				first = false
			}
			line(&b, a.(named), "")
		}
	}
	if imported != "" {
		fmt.Fprintf(&b, "\n## Import\n\n```\nterraform import %s\n```\n", imported)
	}
	return b.String()
}

func line(b *strings.Builder, a named, indent string) {
	kind := a.kind
	if a.IsSensitive() {
		kind += ", sensitive"
	}
	fmt.Fprintf(b, "%s- `%s` (%s) %s\n", indent, a.name, kind, a.GetMarkdownDescription())
	for _, n := range a.below {
		line(b, n, indent+"  ")
	}
}
