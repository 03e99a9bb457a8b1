package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/qanat-io/qanat/integration/checker"
	"github.com/qanat-io/qanat/integration/cluster"
	"github.com/qanat-io/qanat/integration/history"
	"github.com/qanat-io/qanat/integration/workload"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "faults run|matrix|bugs|gaps|check|prove|table|client; go doc ./integration/faults says more")
		os.Exit(2)
	}
	verb, args := os.Args[1], os.Args[2:]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := 0, error(nil)
	switch verb {
	case "client":
		err = client(ctx, args)
	case "check":
		code, err = check(args)
	case "prove":
		err = prove(os.Stdout, args)
	case "table":
		err = table(os.Stdout, args)
	case "run", "matrix", "bugs", "gaps":
		if os.Geteuid() == 0 && !cluster.Isolated() {
			code, err = cluster.Isolate()
			break
		}
		switch verb {
		case "bugs":
			code, err = tryBugs(ctx, args)
		case "gaps":
			code, err = gaps(ctx, args)
		default:
			code, err = campaign(ctx, verb == "matrix", args)
		}
	default:
		err = fmt.Errorf("%q is no command", verb)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// client is one franz-go client.
func client(ctx context.Context, args []string) error {
	var s workload.Spec
	f := flag.NewFlagSet("client", flag.ExitOnError)
	s.Flags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	return workload.Run(ctx, s)
}

// check judges kept histories; exit code 1 says that something was found.
func check(files []string) (int, error) {
	h, err := history.ReadFiles(files...)
	if err != nil {
		return 0, err
	}
	r := checker.Check(h, checker.Options{})
	if err := r.Write(os.Stdout); err != nil {
		return 0, err
	}
	if !r.Clean() {
		return 1, nil
	}
	return 0, nil
}
