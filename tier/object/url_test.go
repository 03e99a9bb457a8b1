package object

import (
	"errors"
	"strings"
	"testing"
)

// False if: a URL is read as anything but what it says.
func TestParseLocation(t *testing.T) {
	for raw, want := range map[string]location{
		"s3://b":                       {driver: "s3", bucket: "b"},
		"s3://b/":                      {driver: "s3", bucket: "b"},
		"s3://b/p/q/":                  {driver: "s3", bucket: "b", prefix: "p/q"},
		"s3://b?prefix=p/q&region=r-1": {driver: "s3", bucket: "b", prefix: "p/q", region: "r-1"},
		"s3://b?sign_payload=true":     {driver: "s3", bucket: "b", signPayload: true},
		"minio://b/p?endpoint=http://h:9000/&path_style=false": {driver: "minio", bucket: "b", prefix: "p"},
	} {
		l, err := parseLocation(raw)
		if err := errors.Join(err, CheckURL(raw)); err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		endpoint, style := "", "default"
		if l.endpoint != nil {
			endpoint = l.endpoint.String()
		}
		if l.pathStyle != nil {
			style = map[bool]string{true: "path", false: "host"}[*l.pathStyle]
		}
		l.endpoint, l.pathStyle = nil, nil
		if l != want {
			t.Errorf("%s: %+v, want %+v", raw, l, want)
		}
		if want.driver == "minio" && (endpoint != "http://h:9000" || style != "host") {
			t.Errorf("%s: endpoint %q, style %s", raw, endpoint, style)
		}
	}
}

// False if: a mistake in a URL is accepted, or its error does not say what to write instead, or repeats a secret.
func TestBadURLsSayWhatToWrite(t *testing.T) {
	for raw, want := range map[string]string{
		"":                               "dir:PATH",
		"bucket":                         "dir:PATH",
		"gs://b":                         `no driver "gs"`,
		"s4://b":                         `did you mean "s3"?`,
		"mini://b":                       `did you mean "minio"?`,
		"dir:":                           "want a path",
		"mem:x":                          "want nothing behind the colon",
		"s3:b":                           "want s3://NAME",
		"s3://":                          "want s3://NAME",
		"s3://b?endpont=http://h":        `no option "endpont", did you mean "endpoint"?`,
		"s3://b?pathstyle=true":          `did you mean "path_style"?`,
		"s3://b?zone=x":                  "options are endpoint, path_style, prefix, region, sign_payload",
		"s3://b?endpoint=h:9000":         "want http://HOST:PORT",
		"s3://b?endpoint=http://h/x":     "want no path behind the host",
		"s3://b?endpoint=http://u:p@h":   "want no credentials",
		"s3://b?path_style=maybe":        "want true or false",
		"s3://b?region=":                 "want one value",
		"s3://b?region=a&region=b":       "want one value",
		"s3://b/p?prefix=q":              "names a prefix already",
		"s3://b?prefix=../q":             "invalid object key",
		"minio://b":                      "want endpoint=",
		"s3://AKIA123:hushhush@b/prefix": "AWS_SECRET_ACCESS_KEY",
	} {
		b, err := Open(raw)
		if err == nil {
			b.Close()
			t.Errorf("%s: opened", raw)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", raw, err, want)
		}
		if strings.Contains(err.Error(), "hushhush") {
			t.Errorf("%s: error repeats the secret", raw)
		}
	}
}

// False if: S3 without a region fails only at its first request.
func TestS3WantsARegion(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_ENDPOINT_URL", "")
	_, err := Open("s3://b")
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Remedy, "region=") {
		t.Errorf("%v", err)
	}
}

// False if: some URL panics, or is read as a bucket whose keys could leave the prefix.
func FuzzParseLocation(f *testing.F) {
	for _, raw := range []string{"s3://b/p?region=r", "minio://b?endpoint=http://h:9000&path_style=1", "s3://b?prefix=../q", "s3://%zz", "s3://u:p@b", "s3://[::1]:9/x?endpoint=https://[::1]"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		l, err := parseLocation(raw)
		if err != nil {
			return
		}
		if l.bucket == "" || l.prefix != "" && CheckKey(l.prefix) != nil || l.key(l.full("a/b")) != "a/b" {
			t.Fatalf("%q parsed as %+v", raw, l)
		}
	})
}
