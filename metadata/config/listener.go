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
	// Security is Kafka's security protocol; PLAINTEXT, until there are others.
	Security string
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
		case "SSL", "SASL_PLAINTEXT", "SASL_SSL":
			return nil, fmt.Errorf("%s needs security, which does not exist yet; use PLAINTEXT", name)
		}
		if names[name] {
			return nil, fmt.Errorf("listener %s is there twice", name)
		}
		names[name] = true
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("%q: bad port", item)
		}
		list = append(list, Listener{Name: name, Host: host, Port: n, Security: "PLAINTEXT"})
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
