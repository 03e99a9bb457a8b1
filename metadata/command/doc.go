// Package command is what can be proposed to the metadata quorum: versioned change records in one encoding (CBOR, integer keys).
package command
