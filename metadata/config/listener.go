package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// Listener is one place where clients connect.
type Listener struct {
	Name string // PLAINTEXT, or any name
	Host string // "" for every interface
	Port int    // 0: the system chooses
	// Security is Kafka's security protocol: Plaintext or SSL.
	Security string
}

// Security protocols. SASL's two are named by Kafka and do not exist here yet.
const (
	Plaintext = "PLAINTEXT"
	SSL       = "SSL"
)

// The names by which listener.name.* and logs know the listeners that are not for clients.
const (
	ClusterListener = "CLUSTER"
	AdminListener   = "ADMIN"
)

// cutListener splits listener.name.NAME.KEY. The name comes back in capitals.
func cutListener(key string) (name, base string, ok bool) {
	rest, ok := strings.CutPrefix(key, "listener.name.")
	if !ok {
		return "", "", false
	}
	name, base, ok = strings.Cut(rest, ".")
	return strings.ToUpper(name), base, ok && name != "" && name == strings.ToLower(name)
}

// errNoSASL is the answer to SASL's protocols.
func errNoSASL(protocol string) error {
	return fmt.Errorf("%s: SASL does not exist in this version; SSL with ssl.client.auth=required knows clients by their certificates", protocol)
}

// checkProtocol allows the protocols that exist.
func checkProtocol(p string) error {
	switch p {
	case Plaintext, SSL:
		return nil
	case "SASL_PLAINTEXT", "SASL_SSL":
		return errNoSASL(p)
	}
	return fmt.Errorf("%q is no security protocol: PLAINTEXT or SSL", p)
}

// parseProtocols reads NAME:PROTOCOL, comma-separated.
func parseProtocols(v string) (map[string]string, error) {
	m := map[string]string{}
	for _, item := range SplitList(v) {
		name, protocol, ok := strings.Cut(item, ":")
		name, protocol = strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(protocol))
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is no NAME:PROTOCOL", item)
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("listener %s is there twice", name)
		}
		// Kafka's default names SASL's protocols too; what counts is whether a listener uses them.
		if err := checkProtocol(protocol); err != nil && !strings.HasPrefix(protocol, "SASL_") {
			return nil, err
		}
		m[name] = protocol
	}
	return m, nil
}

func protocolsRule() rule {
	const words = "a list of NAME:PROTOCOL with the protocols PLAINTEXT and SSL, for example INTERNAL:PLAINTEXT,PUBLIC:SSL"
	return rule{words, func(v string) error {
		if _, err := parseProtocols(v); err != nil {
			return fmt.Errorf("%s (%w)", words, err)
		}
		return nil
	}}
}

// security is the protocol of a listener: as the map says, or what the listener is called.
func (b *Broker) security(name string) (string, error) {
	m, err := parseProtocols(b.String("listener.security.protocol.map"))
	if err != nil {
		panic("config: listener.security.protocol.map was checked at load: " + err.Error())
	}
	protocol, ok := m[name]
	if !ok {
		protocol = name
		if protocol != Plaintext && protocol != SSL && !strings.HasPrefix(protocol, "SASL_") {
			return "", fmt.Errorf("listener %s has no security protocol: say %s:SSL or %s:PLAINTEXT in listener.security.protocol.map", name, name, name)
		}
	}
	return protocol, checkProtocol(protocol)
}

// OfListener is the value of a key that listeners may set for themselves, for one of them.
func (b *Broker) OfListener(listener, key string) string {
	if own := "listener.name." + strings.ToLower(listener) + "." + key; b.values[own].from != "" {
		return b.values[own].value
	}
	return b.String(key)
}

// Address is HOST:PORT.
func (l Listener) Address() string { return net.JoinHostPort(l.Host, strconv.Itoa(l.Port)) }

func (l Listener) String() string { return l.Name + "://" + l.Address() }

// parseListeners reads a list of NAME://HOST:PORT.
func parseListeners(v string) ([]Listener, error) {
	var list []Listener
	names := map[string]bool{}
	for _, item := range SplitList(v) {
		name, address, ok := strings.Cut(item, "://")
		if !ok {
			return nil, fmt.Errorf("%q has no NAME:// before it", item)
		}
		name = strings.ToUpper(name)
		host, port, err := net.SplitHostPort(address)
		if err != nil || checkHostPort(address) != nil {
			return nil, fmt.Errorf("%q is no NAME://HOST:PORT", item)
		}
		switch name {
		case "":
			return nil, fmt.Errorf("%q has no name", item)
		case ClusterListener, AdminListener:
			return nil, fmt.Errorf("%s is what cluster.listener and admin.listener are called; choose another name", name)
		}
		if strings.ContainsAny(name, ". \t") {
			return nil, fmt.Errorf("%q: a listener's name has no dots or blanks", item)
		}
		if names[name] {
			return nil, fmt.Errorf("listener %s is there twice", name)
		}
		names[name] = true
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("%q: bad port", item)
		}
		list = append(list, Listener{Name: name, Host: host, Port: n})
	}
	return list, nil
}

// listenersRule allows a list of listeners, at least one when required.
func listenersRule(required bool) rule {
	words := "a list of NAME://HOST:PORT, for example PLAINTEXT://:9092"
	return rule{words, func(v string) error {
		list, err := parseListeners(v)
		if err != nil {
			return fmt.Errorf("%s (%w)", words, err)
		}
		if required && len(list) == 0 {
			return errors.New(words)
		}
		if !required {
			for _, l := range list {
				if l.Host == "" || l.Host == "0.0.0.0" || l.Host == "::" {
					return fmt.Errorf("%s, with hosts that clients can reach (%s has none)", words, l)
				}
			}
		}
		return nil
	}}
}

// Listeners are where clients connect, in the configured order.
func (b *Broker) Listeners() []Listener {
	list, err := parseListeners(b.String("listeners"))
	if err != nil {
		panic("config: listeners were checked at load: " + err.Error())
	}
	for i := range list {
		if list[i].Security, err = b.security(list[i].Name); err != nil {
			panic("config: listeners were checked at load: " + err.Error())
		}
	}
	return list
}

// Advertised is what clients of the listener of the given name are told to
// connect to. bound is the port that the listener has, in case the system chose it.
func (b *Broker) Advertised(name string, bound int) Listener {
	list, err := parseListeners(b.String("advertised.listeners"))
	if err != nil {
		panic("config: advertised.listeners were checked at load: " + err.Error())
	}
	for _, l := range list {
		if l.Name == name {
			if l.Port == 0 {
				l.Port = bound
			}
			l.Security, _ = b.security(name) // it was checked at load
			return l
		}
	}
	for _, l := range b.Listeners() {
		if l.Name != name {
			continue
		}
		if l.Host == "" || l.Host == "0.0.0.0" || l.Host == "::" {
			l.Host = machineName()
		}
		if l.Port == 0 {
			l.Port = bound
		}
		return l
	}
	panic("config: no listener " + name)
}

func machineName() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}
