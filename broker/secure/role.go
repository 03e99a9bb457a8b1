package secure

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// AnyNode is a Role's Node when its certificate names none.
const AnyNode int32 = -1

// Role is what makes a certificate a broker's: a URI among its subject's alternative names.
//
//	qanat:///broker            a broker of any cluster, any node
//	qanat:///broker/3          node 3
//	qanat://CLUSTER/broker/3   node 3 of the cluster of that id
type Role struct {
	Cluster string // "" for any
	Node    int32  // AnyNode for any
}

// URI is the name that goes into a certificate.
func (r Role) URI() *url.URL {
	u := &url.URL{Scheme: "qanat", Host: r.Cluster, Path: "/broker"}
	if r.Node != AnyNode {
		u.Path += "/" + strconv.Itoa(int(r.Node))
	}
	return u
}

func (r Role) String() string { return r.URI().String() }

// ErrNoRole says that a certificate is no broker's.
var ErrNoRole = errors.New("the certificate has no broker's role (a URI qanat:///broker among its subject alternative names)")

// Roles are the broker's roles of a certificate; ErrNoRole when there is none.
func Roles(c *x509.Certificate) ([]Role, error) {
	var roles []Role
	for _, u := range c.URIs {
		if u.Scheme != "qanat" {
			continue
		}
		r := Role{Cluster: u.Host, Node: AnyNode}
		path, node, named := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if path != "broker" {
			continue
		}
		if named {
			n, err := strconv.ParseInt(node, 10, 32)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("the certificate's name %s is no broker's role: it ends with a node id, or with /broker", u)
			}
			r.Node = int32(n)
		}
		roles = append(roles, r)
	}
	if len(roles) == 0 {
		return nil, ErrNoRole
	}
	return roles, nil
}

// Admit tells whether a certificate may speak as a node of a cluster. An unknown cluster ("", while one is being formed) fits any.
func Admit(c *x509.Certificate, node int32, cluster string) error {
	roles, err := Roles(c)
	if err != nil {
		return fmt.Errorf("%s: %w", Subject(c), err)
	}
	names := make([]string, len(roles))
	for i, r := range roles {
		if (r.Node == AnyNode || r.Node == node) && (r.Cluster == "" || cluster == "" || r.Cluster == cluster) {
			return nil
		}
		names[i] = r.String()
	}
	return fmt.Errorf("%s: the certificate is for %s, and was shown by node %d of cluster %s", Subject(c), strings.Join(names, ", "), node, orUnknown(cluster))
}

func orUnknown(cluster string) string {
	if cluster == "" {
		return "(not known yet)"
	}
	return cluster
}
