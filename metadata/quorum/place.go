package quorum

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/wire/kafka"
)

// place is where a member is, and which of its directories was admitted. It is the member's address in Raft's
// configuration, so that every node knows it with its log, before there is a leader:
//
//	ID@HOST:PORT/DIRECTORY/ADMISSION
//
// Releases without clusters wrote HOST:PORT.
type place struct {
	node      kafka.BrokerID
	address   string
	directory [16]byte // zero: not known
	// admission is where the leader's log ended when it admitted the directory; 0 of those who formed the cluster. Of two
	// directories of one node the one with the higher is the younger.
	admission uint64
}

// String is the place as Raft's configuration holds it.
func (p place) String() string {
	return fmt.Sprintf("%d@%s/%s/%d", p.node, p.address, base64.RawURLEncoding.EncodeToString(p.directory[:]), p.admission)
}

func (p place) server(s raft.ServerSuffrage) raft.Server {
	return raft.Server{Suffrage: s, ID: serverID(p.node), Address: raft.ServerAddress(p.String())}
}

// placeOf reads a member's place. What cannot be read is taken for an address alone.
func placeOf(s raft.Server) place {
	p := parsePlace(string(s.Address))
	p.node = brokerID(s.ID)
	return p
}

func parsePlace(s string) place {
	bare := place{node: kafka.NoBroker, address: s}
	id, rest, ok := strings.Cut(s, "@")
	if !ok {
		return bare
	}
	parts := strings.Split(rest, "/")
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil || len(parts) != 3 {
		return bare
	}
	directory, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || len(directory) != 16 {
		return bare
	}
	admission, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return bare
	}
	return place{node: kafka.BrokerID(n), address: parts[0], directory: [16]byte(directory), admission: admission}
}

// admits tells whether directory and admission are those of a member that came after p, or p itself.
func (p place) admits(directory [16]byte, admission uint64) bool {
	var none [16]byte
	switch {
	case admission != p.admission:
		return admission > p.admission
	case directory == none || p.directory == none:
		return true
	}
	return directory == p.directory
}
