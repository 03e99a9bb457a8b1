package image

// SameTopology tells whether topics, partitions and brokers of two images are the same maps, so that what was derived from
// one holds for the other. It may say no of equal images, but never yes of different ones. Offset commits, groups and
// configurations do not count: they change far more often than what is derived from the rest.
func (m *Image) SameTopology(o *Image) bool {
	return m.topics == o.topics && m.partitions == o.partitions && m.brokers == o.brokers && m.clusterID == o.clusterID
}
