package api

import (
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// A client would be sent to a listener that it has not come by, or from TLS to a port that does not speak it.
func TestEndpointsOfTheSameListener(t *testing.T) {
	b := &image.Broker{}
	b.Endpoints = []command.Endpoint{
		{Listener: "INSIDE", Host: "10.0.0.1", Port: 1, Security: "PLAINTEXT"},
		{Listener: "PUBLIC", Host: "kafka.example.com", Port: 2, Security: "SSL"},
		{Listener: "ZONE-A", Host: "a.example.com", Port: 3, Security: "SSL"},
	}
	for _, c := range []struct {
		w    way
		port int32 // 0: none
	}{
		{way{"INSIDE", "PLAINTEXT"}, 1},
		{way{"ZONE-A", "SSL"}, 3},
		{way{"ZONE-B", "SSL"}, 2}, // this broker has none of it
		{way{"OTHER", "PLAINTEXT"}, 1},
		{way{"SASL", "SASL_SSL"}, 0},
	} {
		if _, port, ok := endpoint(b, c.w); port != c.port || ok != (c.port != 0) {
			t.Errorf("%v is sent to port %d, %v", c.w, port, ok)
		}
	}
	b.Endpoints = b.Endpoints[:1]
	if _, port, ok := endpoint(b, way{"PUBLIC", "SSL"}); ok {
		t.Errorf("TLS is sent to a plain port, %d", port)
	}
}
