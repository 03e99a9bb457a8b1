package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Peer is one broker of cluster.peers.
type Peer struct {
	ID      int32
	Address string // HOST:PORT
}

// Peers are the brokers of cluster.peers, by their ids.
func (b *Broker) Peers() []Peer {
	peers, err := parsePeers(b.String("cluster.peers"))
	if err != nil {
		panic("config: cluster.peers was checked at load")
	}
	return peers
}

func peersRule() rule {
	const words = "one, three or five of ID@HOST:PORT, comma-separated, for example 1@kafka-1:9645,2@kafka-2:9645,3@kafka-3:9645, or empty"
	return rule{words, func(v string) error {
		if _, err := parsePeers(v); err != nil {
			return fmt.Errorf("%s: %w", words, err)
		}
		return nil
	}}
}

func parsePeers(v string) ([]Peer, error) {
	var peers []Peer
	for _, item := range SplitList(v) {
		id, address, ok := strings.Cut(item, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("%q does not begin with a node id and @", item)
		}
		if err := checkHostPort(address); err != nil {
			return nil, fmt.Errorf("%q: %w", item, err)
		}
		if host, port, _ := net.SplitHostPort(address); host == "" || port == "0" {
			return nil, fmt.Errorf("%q: others must be able to reach it: it needs a host and a port", item)
		}
		for _, p := range peers {
			if int64(p.ID) == n || p.Address == address {
				return nil, fmt.Errorf("%q has the id or the address of another", item)
			}
		}
		peers = append(peers, Peer{ID: int32(n), Address: address})
	}
	slices.SortFunc(peers, func(a, b Peer) int { return int(a.ID - b.ID) })
	if n := len(peers); n != 0 && n != 1 && n != 3 && n != 5 {
		return nil, errors.New(strconv.Itoa(n) + " brokers cannot be the voters: an even number bears no more losses than one less, and more than five make every change slower")
	}
	return peers, nil
}
