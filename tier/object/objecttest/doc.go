// Package objecttest is what every driver of package object must do: one
// acceptance test, run against each of them.
//
// What must stay true: nothing here knows which driver it runs against.
package objecttest
