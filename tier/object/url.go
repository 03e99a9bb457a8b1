package object

import (
	"context"
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// location is a parsed s3:// or minio:// URL.
type location struct {
	driver      string // s3 or minio
	bucket      string
	prefix      string // without slashes at its ends; empty for none
	endpoint    *url.URL
	region      string
	pathStyle   *bool
	signPayload bool
}

// options are the query options of s3:// and minio:// URLs, and what each means.
var options = map[string]func(l *location, value string) error{
	"endpoint": func(l *location, value string) error {
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("want http://HOST:PORT or https://HOST:PORT, not %q", value)
		}
		if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return fmt.Errorf("want no path behind the host in %q", value)
		}
		if u.User != nil {
			return fmt.Errorf("want no credentials in a URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
		u.Path = ""
		l.endpoint = u
		return nil
	},
	"region": func(l *location, value string) error {
		l.region = value
		return nil
	},
	"prefix": func(l *location, value string) error {
		if l.prefix != "" {
			return fmt.Errorf("the URL's path names a prefix already")
		}
		l.prefix = strings.Trim(value, "/")
		return nil
	},
	"path_style": func(l *location, value string) error {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("want true or false, not %q", value)
		}
		l.pathStyle = &on
		return nil
	},
	"sign_payload": func(l *location, value string) (err error) {
		if l.signPayload, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("want true or false, not %q", value)
		}
		return nil
	},
}

// Open opens the bucket that a URL names. It makes no request to a remote
// store (Check does); it creates the directory of a dir: URL.
//
//	dir:PATH                    a directory
//	mem:                        memory, gone with the process
//	s3://NAME/PREFIX?OPTIONS    S3, through aws-sdk-go-v2
//	minio://NAME/PREFIX?OPTIONS S3-compatible stores, through minio-go
//
// Options: endpoint (a base URL; S3 itself by default, required for minio),
// region, prefix (instead of the path), path_style (default: true with an
// endpoint), sign_payload (hash every byte that is uploaded, for stores that
// refuse an unsigned payload; default false).
//
// Credentials come from the environment (AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), shared files, or the instance's role.
func Open(rawURL string) (Bucket, error) {
	driver, rest, err := driverOf(rawURL)
	if err != nil {
		return nil, err
	}
	switch driver {
	case "dir":
		return OpenDir(rest)
	case "mem":
		return NewMem(nil), nil
	}
	l, err := parseLocation(rawURL)
	if err != nil {
		return nil, err
	}
	if driver == "s3" {
		return openS3(context.Background(), l)
	}
	return openMinio(l)
}

// CheckURL tells what Open would find wrong with the words of a URL, and touches nothing.
func CheckURL(rawURL string) error {
	driver, _, err := driverOf(rawURL)
	if err != nil || driver == "dir" || driver == "mem" {
		return err
	}
	_, err = parseLocation(rawURL)
	return err
}

// driverOf splits a URL at its colon.
func driverOf(rawURL string) (driver, rest string, err error) {
	driver, rest, ok := strings.Cut(rawURL, ":")
	switch {
	case !ok:
		err = fmt.Errorf("bucket %q: want dir:PATH, mem:, s3://NAME or minio://NAME", rawURL)
	case driver == "dir" && rest == "":
		err = fmt.Errorf("bucket %q: want a path behind the colon", rawURL)
	case driver == "mem" && rest != "":
		err = fmt.Errorf("bucket %q: want nothing behind the colon", rawURL)
	case driver != "dir" && driver != "mem" && driver != "s3" && driver != "minio":
		err = fmt.Errorf("bucket %q: no driver %q%s; want dir:PATH, mem:, s3://NAME or minio://NAME",
			rawURL, driver, suggestion(driver, []string{"dir", "mem", "s3", "minio"}))
	}
	return driver, rest, err
}

func parseLocation(rawURL string) (location, error) {
	bad := func(format string, args ...any) (location, error) {
		return location{}, fmt.Errorf("bucket %q: %w", rawURL, fmt.Errorf(format, args...))
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return location{}, fmt.Errorf("bucket URL: %w", err)
	}
	if u.User != nil {
		// Not repeated in the error: it may hold a secret.
		return location{}, fmt.Errorf("bucket %s://…@%s: want no credentials in a URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", u.Scheme, u.Host)
	}
	if u.Opaque != "" || u.Host == "" {
		return bad("want %s://NAME", u.Scheme)
	}
	if u.Fragment != "" {
		return bad("want no fragment")
	}
	l := location{driver: u.Scheme, bucket: u.Host, prefix: strings.Trim(u.Path, "/")}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("options: %w", err)
	}
	names := make([]string, 0, len(options))
	for name := range options {
		names = append(names, name)
	}
	sort.Strings(names)
	for name, values := range query {
		set, ok := options[name]
		if !ok {
			return bad("no option %q%s; options are %s", name, suggestion(name, names), strings.Join(names, ", "))
		}
		if len(values) != 1 || values[0] == "" {
			return bad("option %s: want one value", name)
		}
		if err := set(&l, values[0]); err != nil {
			return bad("option %s: %w", name, err)
		}
	}
	if l.prefix != "" {
		if err := CheckKey(l.prefix); err != nil {
			return bad("prefix: %w", err)
		}
	}
	if l.driver == "minio" && l.endpoint == nil {
		return bad("want endpoint=http://HOST:PORT")
	}
	return l, nil
}

// url is what Bucket.URL says: without options, which only tell how to get there.
func (l *location) url() string {
	s := l.driver + "://" + l.bucket
	if l.prefix != "" {
		s += "/" + l.prefix
	}
	return s
}

// full is the object's name in the bucket, key the reverse.
func (l *location) full(key string) string {
	if l.prefix == "" {
		return key
	}
	return l.prefix + "/" + key
}

func (l *location) key(full string) string {
	if l.prefix == "" {
		return full
	}
	return strings.TrimPrefix(full, l.prefix+"/")
}

// path tells whether buckets are named in the path, not in the host.
func (l *location) path(custom bool) bool {
	if l.pathStyle != nil {
		return *l.pathStyle
	}
	return custom
}

// suggestion names the known word that is nearest to a misspelt one, if any is near.
func suggestion(word string, known []string) string {
	best, at := "", len(word)/2+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
