package storage

// maxDamageSaid bounds what a log says, and remembers, of damaged places.
const maxDamageSaid = 100

// reportDamage says that flushed records are damaged: err names the file and the place. They stay as they
// are, and so does what stands behind them; only whoever asks for them gets an error.
func (l *Log) reportDamage(err error, attrs ...any) {
	text := err.Error()
	l.damage.Lock()
	_, said := l.damage.said[text]
	if said || len(l.damage.said) >= maxDamageSaid {
		l.damage.Unlock()
		return
	}
	if l.damage.said == nil {
		l.damage.said = map[string]struct{}{}
	}
	l.damage.said[text] = struct{}{}
	l.damage.Unlock()
	l.dir.metrics.damaged.Inc()
	l.dir.logger.Error("flushed records are damaged; they are kept, and reading them fails: put the file back from a copy while the "+
		"node is stopped, or have consumers seek past them", append([]any{"topic", l.tp.Topic, "partition", l.tp.Partition, "err", text}, attrs...)...)
}
