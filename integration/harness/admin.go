package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Ask asks the broker's admin port and decodes the JSON answer into to, which may be nil.
func (b *Broker) Ask(ctx context.Context, method, path string, to any) error {
	return Ask(ctx, method, b.Admin, path, to)
}

// Ask is Broker.Ask for whatever has an admin port at the address.
func Ask(ctx context.Context, method, address, path string, to any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s%s: %s: %s", method, address, path, resp.Status, raw)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(raw, to)
}

// Until asks again and again until done says true, errors, or ctx ends; what it waits for has no event that is seen from outside.
func Until(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
