package peer

import "github.com/qanat-io/qanat/wire"

// The private API. Every key is here and is never used for anything else again; a request whose meaning changes gets another
// version. Its messages are beside what serves it.
const (
	KeyHello     = wire.FirstPrivateKey + iota // metadata/quorum: who are you, and are you part of a cluster
	KeyPropose                                 // metadata/quorum: a Raft entry for its leader
	KeyHeartbeat                               // broker/control: a broker to the controller
	KeyForm                                    // metadata/quorum: form this cluster with me
	KeyJoin                                    // metadata/quorum: take me in, or note where I am now
	KeyReach                                   // metadata/quorum: how far the leader's log is committed
	KeyLost                                    // metadata/quorum: do you, too, see the leader dead
	KeyAdmin                                   // metadata/quorum: change the membership
	KeyPing                                    // broker/control: a sign of life, and how new the image is
	KeyEnlist                                  // broker/txncoordinator: add to a transaction
	KeyMark                                    // broker/txncoordinator: write markers
)

// api is what is known of a private key.
type api struct {
	name string
	max  int16 // the newest version; all from 0 on are served
	open bool  // may be asked by who is not of the cluster (yet)
}

// private is the table: every private key there is.
var private = map[int16]api{
	KeyHello:     {name: "Hello", open: true},
	KeyPropose:   {name: "Propose"},
	KeyHeartbeat: {name: "Heartbeat"},
	KeyForm:      {name: "Form", open: true},
	KeyJoin:      {name: "Join", open: true},
	KeyReach:     {name: "Reach"},
	KeyLost:      {name: "Lost"},
	KeyAdmin:     {name: "Admin"},
	KeyPing:      {name: "Ping"},
	KeyEnlist:    {name: "Enlist"},
	KeyMark:      {name: "Mark"},
}

// Name is a private key's, for logs and metrics; "" when there is none.
func Name(key int16) string { return private[key].name }
