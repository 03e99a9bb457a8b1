package console

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// ErrRefused says that what was asked for is not done; the error says why, and what would help.
var ErrRefused = errors.New("refused")

// Broker is one of /v1/brokers.
type Broker struct {
	ID        int32      `json:"id"`
	State     string     `json:"state"` // active, fenced, stopping
	Drain     bool       `json:"drain"` // it is to be emptied
	Epoch     int64      `json:"epoch"`
	Rack      string     `json:"rack"`
	Listeners []Listener `json:"listeners"`
	Cluster   string     `json:"cluster_address"` // for other brokers
	Admin     string     `json:"admin_address"`   // this port there, HOST:PORT; "" for none, or not known
	Version   string     `json:"version"`
	// MetadataLevel is the newest that it supports.
	MetadataLevel int `json:"metadata_level"`

	Controller bool `json:"controller"`   // it leads the metadata quorum
	Voter      bool `json:"voter"`        // it has a vote there
	Observer   bool `json:"observer"`     // it follows it without one
	Replicas   int  `json:"replicas"`     // of partitions
	Leaders    int  `json:"leaders"`      // partitions that it leads
	Preferred  int  `json:"preferred"`    // partitions that it is the preferred leader of
	OutOfSync  int  `json:"out_of_sync"`  // replicas that are not in sync
	Groups     int  `json:"group_shards"` // of the 64 shards of the groups, those that it coordinates

	// Moving are replicas that are on the way to another broker, Stuck those that no other can take or that nobody leads. Of
	// brokers that are to be emptied only.
	Moving int `json:"moving"`
	Stuck  int `json:"stuck"`
	// Throttle is the most that each broker copies for that, in bytes a second; 0: without limit.
	Throttle int64 `json:"throttle"`
}

// Cluster is /v1/cluster: how the whole is, as the broker that was asked knows it.
type Cluster struct {
	ClusterID  string   `json:"cluster_id"`
	AskedOf    int32    `json:"asked_of"`
	Healthy    bool     `json:"healthy"`
	Problems   []string `json:"problems"`   // in words, the gravest first; empty when healthy
	Warnings   []string `json:"warnings"`   // what will be a problem when nothing is done: certificates that end soon
	Controller int32    `json:"controller"` // -1: nobody
	Brokers    int      `json:"brokers"`
	Active     int      `json:"active"`
	Topics     int      `json:"topics"`
	Partitions int      `json:"partitions"`
	// MetadataLevel is that of the cluster, which rises by itself when every registered broker supports the next.
	MetadataLevel int `json:"metadata_level"`

	Leaderless      int `json:"leaderless"`
	Lost            int `json:"lost"` // of these, those of which no replica is known to have the data
	UnderMinISR     int `json:"under_min_isr"`
	UnderReplicated int `json:"under_replicated"`
	Moving          int `json:"moving"` // being reassigned
	NotPreferred    int `json:"not_preferred"`

	// What ails partitions on brokers that are active, each of which tells the controller.
	Offline    int `json:"offline"`    // replicas whose storage does not open
	Damaged    int `json:"damaged"`    // replicas that take no records, because of damaged local data that nothing else holds
	Unarchived int `json:"unarchived"` // partitions that have failed, for a minute or longer, to get their segments into the bucket
	Unreadable int `json:"unreadable"` // partitions with objects that the bucket lacks or has damaged, as the broker says that knows most

	// Worst are partitions with a problem, the gravest first; at most a hundred.
	Worst []PartitionHealth `json:"worst"`
}

// PartitionHealth is a partition with a problem.
type PartitionHealth struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Problem   string  `json:"problem"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	ELR       []int32 `json:"elr"`
}

// Balance is /v1/balance.
type Balance struct {
	Mode   string `json:"mode"`   // cluster.balance: off, once, on
	Moving int    `json:"moving"` // partitions that are being reassigned, for whatever reason
	// Throttle is the most that each broker copies for that, in bytes a second; 0: without limit.
	Throttle int64 `json:"throttle"`
	// Moves would balance the cluster as it is now.
	Moves []BalanceMove `json:"moves"`
	Bytes int64         `json:"bytes"` // to be copied, as far as this broker knows the sizes
	// Unknown are the moves of partitions that are not on this broker's disk: it does not know their sizes.
	Unknown int `json:"unknown"`
}

// BalanceMove is one of Balance's.
type BalanceMove struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"`
	Target    []int32 `json:"target"`
	Bytes     int64   `json:"bytes"` // -1: not known
}

// Done is the answer to a change that has nothing else to say.
type Done struct {
	Done string `json:"done"`
}

// clusterRoutes are the paths about all brokers together.
func (s *Server) clusterRoutes(add func(method, path, what string, h http.HandlerFunc)) {
	add("GET", "/v1/brokers", "the cluster's brokers", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.backend.Brokers()) })
	add("GET", "/v1/quorum", "the metadata quorum", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.backend.Quorum()) })
	add("GET", "/v1/cluster", "how the cluster is, and what is wrong", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.backend.Cluster()) })
	add("GET", "/v1/balance", "what would balance the cluster", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.backend.Balance()) })
	add("POST", "/v1/balance", "move replicas and leaders; ?mode=once, on or off, &throttle=BYTES a second", s.setBalance)
	add("POST", "/v1/brokers/{id}/drain", "empty a broker; ?on=false ends that, &throttle=BYTES a second", s.drain)
	add("POST", "/v1/throttle", "bound what moves copy; ?throttle=BYTES a second, 0 for no bound", s.setThrottle)
	add("POST", "/v1/partitions/transfer", "give a leadership to another replica; ?topic=NAME&partition=N&to=BROKER", s.transfer)
}

func (s *Server) setBalance(w http.ResponseWriter, r *http.Request) {
	mode := r.URL.Query().Get("mode")
	switch mode {
	case "once", "on", "off":
	default:
		fail(w, http.StatusBadRequest, fmt.Errorf("mode: %q is none of once, on and off", mode))
		return
	}
	throttle, err := throttleOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if err := s.backend.SetBalance(r.Context(), mode, throttle); err != nil {
		failAs(w, err)
		return
	}
	reply(w, Done{"cluster.balance is " + mode})
}

// throttleOf is how fast a request lets moves copy; 0 when it does not say.
func throttleOf(r *http.Request) (int64, error) {
	v := r.URL.Query().Get("throttle")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("throttle: %q is no number of bytes", v)
	}
	return n, nil
}

func (s *Server) setThrottle(w http.ResponseWriter, r *http.Request) {
	throttle, err := throttleOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if err := s.backend.SetThrottle(r.Context(), throttle); err != nil {
		failAs(w, err)
		return
	}
	reply(w, Done{fmt.Sprintf("moves copy at most %d bytes a second (0: without limit)", throttle)})
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	id, err := number(r.PathValue("id"))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("broker: %w", err))
		return
	}
	on := true
	if v := r.URL.Query().Get("on"); v != "" {
		if on, err = strconv.ParseBool(v); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("on: %q is neither true nor false", v))
			return
		}
	}
	throttle, err := throttleOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if err := s.backend.Drain(r.Context(), id, on, throttle); err != nil {
		failAs(w, err)
		return
	}
	if on {
		reply(w, Done{fmt.Sprintf("broker %d is being emptied", id)})
		return
	}
	reply(w, Done{fmt.Sprintf("broker %d takes replicas again", id)})
}

func (s *Server) transfer(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	partition, err := number(q.Get("partition"))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("partition: %w", err))
		return
	}
	to, err := number(q.Get("to"))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("to: %w", err))
		return
	}
	if err := s.backend.Transfer(r.Context(), q.Get("topic"), partition, to); err != nil {
		failAs(w, err)
		return
	}
	reply(w, Done{fmt.Sprintf("broker %d leads partition %d of %s", to, partition, q.Get("topic"))})
}

func number(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number from 0 on", text)
	}
	return int32(n), nil
}
