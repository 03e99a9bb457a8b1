package secure_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/broker/secure"
)

// Rules that were taken would break whoever shows a certificate, or name an owner without saying that it is a user.
func FuzzPrincipals(f *testing.F) {
	f.Add("RULE:^CN=(.*?),.*$/$1@x/L,DEFAULT", "alice")
	f.Add(`RULE:CN=(\w+)(\/x)?/$9${2}$$\$/U`, "bob,O=x")
	f.Add("RULE:a)|(.*/$1/", "")
	f.Fuzz(func(t *testing.T, rules, name string) {
		p, err := secure.ParsePrincipals(rules)
		if err != nil {
			return
		}
		subject, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
		if err != nil {
			return // no certificate has such a name
		}
		switch who, err := p.Of(&x509.Certificate{RawSubject: subject}); {
		case errors.Is(err, secure.ErrNoPrincipal):
		case err != nil:
			t.Error(err)
		case !strings.HasPrefix(who, "User:"):
			t.Errorf("the owner is %q", who)
		}
	})
}
