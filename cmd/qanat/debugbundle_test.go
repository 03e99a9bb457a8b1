package main

import (
	"strings"
	"testing"
)

// False if it failed: "whatever form a secret has in a log or an answer, it is not in the bundle, and what is none stays".
func TestScrubber(t *testing.T) {
	s := newScrubber(nil, []string{"AWS_SECRET_ACCESS_KEY=wJalr/XUt+nF", "QANAT_CLUSTER_JOIN_TOKEN=a \"quoted\" token", "PATH=/usr/bin", "SHORT_SECRET=no"})
	for _, secret := range []string{
		`plain wJalr/XUt+nF behind`, `{"x":"a \"quoted\" token"}`, `ssl.key.password=planted-1 next`, `ssl.keystore.password: planted-2`, `{"ssl.key.password":"planted 3 \" more"}`,
		`msg="x" error="sasl.password='planted-4'"`, `{"error":"password=\"planted-5\""}`, `Authorization: Bearer planted-6`, `https://user:planted-7@host/`, `AKIAABCDEFGHIJKLMNOP`,
		"-----BEGIN EC PRIVATE KEY-----\nplanted-8\n-----END EC PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nplanted-9 and cut off", `api_key=planted-10`,
		`s3_access_key: "planted-11"`, `bucket.url: "minio://planted-12:planted/13+x@bucket/p" is not allowed`, `https://user:planted@14@host/ behind`,
	} {
		got := string(s.bytes([]byte(secret)))
		for _, bad := range []string{"wJalr", "quoted", "planted", "AKIAA"} {
			if strings.Contains(got, bad) {
				t.Errorf("%s\n  became %s", secret, got)
			}
		}
		if !strings.Contains(got, hidden) {
			t.Errorf("%s\n  became %s", secret, got)
		}
	}
	for _, kept := range []string{`qanat_token_errors: 12`, `{"tokens":0,"secret":null}`, `/usr/bin in a path`, `no short secret`, `topic=orders partition=3`, `bucket.url=s3://name/prefix?region=eu-central-1`, `cluster.join.token: ""`,
		`listeners=SSL://host:9093,PUBLIC://other:9094 peers=1@host:9645,2@other:9645`} {
		if got := string(s.bytes([]byte(kept))); got != kept {
			t.Errorf("%s\n  became %s", kept, got)
		}
	}
}

// A short secret that is a word of its own would take that word out of everything, or stay where it stands alone.
func TestScrubberOfShortSecrets(t *testing.T) {
	s := newScrubber(nil, []string{"AWS_ACCESS_KEY_ID=qanat", "AWS_SECRET_ACCESS_KEY=qanatsecret"})
	const text = "qanat_partitions 1\nprocess qanat, xqanat and \"qanat\"; /qanat/x qanatsecrets"
	const want = "qanat_partitions 1\nprocess (hidden), xqanat and \"(hidden)\"; /(hidden)/x (hidden)s"
	if got := string(s.bytes([]byte(text))); got != want {
		t.Errorf("%q", got)
	}
}
