// Package controller is pure decisions: image and liveness in, commands out.
package controller
