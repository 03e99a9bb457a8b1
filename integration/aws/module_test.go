package aws

import (
	"strings"
	"testing"
	"time"
)

// False if it failed: "the module and the examples are formatted and valid, and variables that contradict each other are refused with what to write instead".
func TestModule(t *testing.T) {
	needAWS(t)
	t.Parallel()
	ctx := within(t, 10*time.Minute)
	output(t, ctx, command(ctx, root, "terraform", "fmt", "-check", "-recursive", "terraform/modules/aws", "terraform/examples"))
	s := newStack(t, ctx, "aws-smallest", "eu-north-1", map[string]any{})
	s.must(t, ctx, "validate")
	module := &stack{t: t, dir: s.dir + "/../../modules/aws"}
	module.must(t, ctx, "init", "-backend=false", "-input=false")
	if out := module.must(t, ctx, "test"); !strings.Contains(out, " passed, 0 failed") {
		t.Error(out)
	}
}
