// Package issue makes certificates: a throwaway CA for trying TLS, and everything that is wrong with certificates for tests. It
// keeps nothing and revokes nothing; a production cluster has its certificates from a CA that somebody looks after.
package issue
