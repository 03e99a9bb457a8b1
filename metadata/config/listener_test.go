package config

import "testing"

// A listener would have another protocol, or another's settings, than its file says.
func TestListenersHaveTheirOwn(t *testing.T) {
	b, err := Load("", []string{"QANAT_LISTENER_NAME_PUBLIC_SSL_CLIENT_AUTH=requested"}, []string{
		"listeners=internal://:9092,PUBLIC://:9093,SSL://:9094",
		"advertised.listeners=PUBLIC://kafka.example.com:443",
		"listener.security.protocol.map=INTERNAL:PLAINTEXT,PUBLIC:SSL,OTHER:SASL_SSL",
		"ssl.client.auth=required", "ssl.keystore.key=secret",
		"listener.name.admin.ssl.client.auth=none", "listener.name.public.ssl.keystore.key=own",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"INTERNAL": Plaintext, "PUBLIC": SSL, "SSL": SSL}
	for _, l := range b.Listeners() {
		if l.Security != want[l.Name] {
			t.Errorf("%s is %q, want %q", l.Name, l.Security, want[l.Name])
		}
		if a := b.Advertised(l.Name, 1); a.Security != want[l.Name] {
			t.Errorf("%s is advertised as %q", l.Name, a.Security)
		}
	}
	for _, c := range []struct{ listener, key, want string }{
		{"SSL", "ssl.client.auth", "required"}, {"PUBLIC", "ssl.client.auth", "requested"}, {AdminListener, "ssl.client.auth", "none"},
		{ClusterListener, "ssl.client.auth", "required"}, {"PUBLIC", "ssl.keystore.key", "own"}, {"SSL", "ssl.keystore.key", "secret"},
		{"PUBLIC", "ssl.keystore.type", "PEM"},
	} {
		if got := b.OfListener(c.listener, c.key); got != c.want {
			t.Errorf("%s of %s is %q, want %q", c.key, c.listener, got, c.want)
		}
	}
	seen := 0
	for _, e := range b.DescribeBroker(nil, nil) {
		switch e.Key.Name {
		case "listener.name.public.ssl.client.auth":
			seen++
			if e.Value != "requested" || e.From == "" {
				t.Errorf("described as %+v", e)
			}
		case "listener.name.public.ssl.keystore.key", "ssl.keystore.key":
			seen++
			if e.Value != "" {
				t.Errorf("%s is shown", e.Key.Name)
			}
		}
	}
	if seen != 3 {
		t.Errorf("%d of 3 are described", seen)
	}
}
