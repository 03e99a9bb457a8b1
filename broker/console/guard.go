package console

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// guard refuses hosts that are not this machine, sets the headers that keep a
// browser from making anything of the answers, and contains panics.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.log.Error("admin request panicked", "path", r.URL.Path, "panic", fmt.Sprint(p))
				fail(w, http.StatusInternalServerError, errors.New("internal error; see the broker's log"))
			}
		}()
		if !s.hostAllowed(r.Host) {
			fail(w, http.StatusForbidden, fmt.Errorf("host %q is not served here; add it to admin.allowed.hosts if it should be", r.Host))
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		next.ServeHTTP(w, r)
	})
}

// hostAllowed tells whether a Host header names this machine. Addresses pass:
// a page that was rebound to one still has its own name in the header.
func (s *Server) hostAllowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if name == "localhost" || net.ParseIP(name) != nil {
		return true
	}
	if own, _, err := net.SplitHostPort(s.cfg.Listen); err == nil && own != "" && strings.EqualFold(own, name) {
		return true
	}
	return slices.ContainsFunc(s.cfg.AllowedHosts, func(a string) bool { return strings.EqualFold(a, name) })
}
