// Package hot is the local log of one partition: append, group flush, truncate, recover, retain.
package hot
