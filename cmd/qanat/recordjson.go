package main

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordJSON is a record as consume prints it. What is no UTF-8 is there in base64 instead.
type recordJSON struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"`
	Key       *string      `json:"key,omitempty"`
	KeyRaw    []byte       `json:"key_base64,omitempty"`
	Value     *string      `json:"value,omitempty"`
	ValueRaw  []byte       `json:"value_base64,omitempty"`
	Headers   []headerJSON `json:"headers,omitempty"`
	KeySize   *int         `json:"key_size,omitempty"`
	ValueSize *int         `json:"value_size,omitempty"`
}

type headerJSON struct {
	Key      string  `json:"key"`
	Value    *string `json:"value,omitempty"`
	ValueRaw []byte  `json:"value_base64,omitempty"`
}

func appendJSON(dst []byte, r *kgo.Record, metaOnly, pretty bool) []byte {
	x := recordJSON{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	if metaOnly {
		k, v := len(r.Key), len(r.Value)
		x.KeySize, x.ValueSize = &k, &v
	} else {
		x.Key, x.KeyRaw = textOrRaw(r.Key)
		x.Value, x.ValueRaw = textOrRaw(r.Value)
		for _, h := range r.Headers {
			hj := headerJSON{Key: h.Key}
			hj.Value, hj.ValueRaw = textOrRaw(h.Value)
			x.Headers = append(x.Headers, hj)
		}
	}
	var b bytes.Buffer
	b.Write(dst)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if pretty {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(x); err != nil {
		panic("a record does not encode: " + err.Error())
	}
	return b.Bytes()
}

// textOrRaw tells text from other bytes; both are nil for nil, which is no value (a tombstone's, for one).
func textOrRaw(p []byte) (*string, []byte) {
	switch {
	case p == nil:
		return nil, nil
	case utf8.Valid(p):
		s := string(p)
		return &s, nil
	}
	return nil, p
}
