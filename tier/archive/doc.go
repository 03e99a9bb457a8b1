// Package archive moves closed segments to the bucket and expires what is there: upload, commit, publish, delete.
package archive
