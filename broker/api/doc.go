// Package api answers requests: one file per API key, each authorize → call → translate errors. It keeps no state of its own
// but fetch sessions' table, which it is given.
package api
