package dashboards

import (
	"regexp"
	"slices"
	"strings"

	"github.com/qanat-io/qanat/broker/telemetry"
)

// named is a metric in an expression: <NAME>, <NAME:bucket>, <NAME|label="value">. NAME is a declaration's; up is Prometheus' own.
var named = regexp.MustCompile(`<([a-z][a-z0-9_.]*)(?::(bucket|sum|count))?(?:\|([^>]*))?>`)

// expand puts Prometheus' names in, each with the matchers. A metric that is not declared is a bug.
func expand(expr, matchers string) string {
	return named.ReplaceAllStringFunc(expr, func(s string) string {
		m := named.FindStringSubmatch(s)
		name := prometheusName(m[1])
		if m[2] != "" {
			name += "_" + m[2]
		}
		var all []string
		for _, x := range []string{matchers, m[3]} {
			if x != "" {
				all = append(all, x)
			}
		}
		if len(all) == 0 {
			return name
		}
		return name + "{" + strings.Join(all, ",") + "}"
	})
}

func prometheusName(name string) string {
	if name == "up" {
		return name
	}
	i := slices.IndexFunc(telemetry.Declarations, func(d telemetry.Declaration) bool { return d.Name == name })
	if i < 0 {
		panic("dashboards: metric " + name + " is not declared")
	}
	return telemetry.Declarations[i].Prometheus()
}
