package controller

import (
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Place chooses replicas for count partitions over the live brokers, spread by load.
func Place(m *image.Image, live []kafka.BrokerID, count, factor int) ([][]kafka.BrokerID, error) {
	panic("skeleton")
}

// StartLeaders are the elections that a broker's (re)registration asks for: every partition it leads or can lead gets a new leader epoch.
func StartLeaders(m *image.Image, b kafka.BrokerID) []command.Command { panic("skeleton") }
