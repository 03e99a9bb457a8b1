package main

import (
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/qanat-io/qanat/broker"
)

// serviceManager is systemd, where it has started this process (Type=notify): it hears when the broker serves and when it stops, and, if
// the unit has a WatchdogSec, that the process still runs. Elsewhere nothing is told to anybody.
type serviceManager struct {
	log  *slog.Logger
	done chan struct{}
	once sync.Once
	beat sync.WaitGroup
}

// supervised finds out whether there is a service manager, and begins to tell it that the process runs: also while it starts, which may
// take longer than a watchdog's time.
func supervised(log *slog.Logger) *serviceManager {
	m := &serviceManager{log: log, done: make(chan struct{})}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("WATCHDOG_USEC makes no sense: the service manager is not told that the process runs", "error", err)
	}
	if err == nil && every > 0 {
		m.beat.Go(func() { m.run(every / 2) })
	}
	return m
}

func (m *serviceManager) run(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		m.notify(daemon.SdNotifyWatchdog)
		select {
		case <-m.done:
			return
		case <-ticker.C:
		}
	}
}

// tell is broker.Options.Tell.
func (m *serviceManager) tell(p broker.Phase) {
	switch p {
	case broker.Serving:
		m.notify(daemon.SdNotifyReady)
	case broker.Stopping:
		m.notify(daemon.SdNotifyStopping)
	}
}

func (m *serviceManager) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn("service manager is not reached", "state", state, "error", err)
	}
}

// end stops telling.
func (m *serviceManager) end() {
	m.once.Do(func() { close(m.done) })
	m.beat.Wait()
}
