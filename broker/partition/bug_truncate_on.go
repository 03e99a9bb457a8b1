//go:build qanat_bug_truncate

package partition

func (p *Partition) bugTruncate() {
	p.appendMu.Lock()
	defer p.appendMu.Unlock()
	to := p.HighWatermark()
	if to >= p.log.End() || to < p.log.Hot().Start() {
		return
	}
	state, err := p.log.TruncateTo(to)
	if err == nil {
		err = p.recall(state)
	}
	if err != nil {
		p.env.Logger.Error("cut to the high watermark", "topic", p.topic, "partition", p.id.Index, "error", err)
	}
}
