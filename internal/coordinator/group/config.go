package group

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator decides about classic groups; the comments name Kafka's settings.
type Config struct {
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int           // group.max.size
	OffsetMetadataMax     int           // offset.metadata.max.bytes, counted in UTF-16 units as Kafka does
	OffsetsRetention      time.Duration // offsets.retention.minutes
	OffsetsCheckInterval  time.Duration // offsets.retention.check.interval.ms
	// NewMemberJoinTimeout bounds how long the first JoinGroup of a member may be parked: such a
	// member cannot be told from one whose client is gone. Kafka fixes it at five minutes.
	NewMemberJoinTimeout time.Duration
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		MinSessionTimeout:     6 * time.Second,
		MaxSessionTimeout:     30 * time.Minute,
		InitialRebalanceDelay: 3 * time.Second,
		MaxSize:               1<<31 - 1,
		OffsetMetadataMax:     4096,
		OffsetsRetention:      7 * 24 * time.Hour,
		OffsetsCheckInterval:  10 * time.Minute,
		NewMemberJoinTimeout:  5 * time.Minute,
	}
}

// Validate says everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	atLeast := func(name string, value, bound time.Duration) {
		if value < bound {
			errs = append(errs, fmt.Errorf("%s = %v, want at least %v", name, value, bound))
		}
	}
	atLeast("group.min.session.timeout.ms", c.MinSessionTimeout, time.Millisecond)
	atLeast("group.max.session.timeout.ms", c.MaxSessionTimeout, c.MinSessionTimeout)
	atLeast("group.initial.rebalance.delay.ms", c.InitialRebalanceDelay, 0)
	atLeast("offsets.retention.minutes", c.OffsetsRetention, time.Minute)
	atLeast("offsets.retention.check.interval.ms", c.OffsetsCheckInterval, time.Millisecond)
	atLeast("the join timeout of new members", c.NewMemberJoinTimeout, time.Millisecond)
	if c.MaxSize < 1 {
		errs = append(errs, fmt.Errorf("group.max.size = %d, want at least 1", c.MaxSize))
	}
	if c.OffsetMetadataMax < 0 {
		errs = append(errs, fmt.Errorf("offset.metadata.max.bytes = %d, want at least 0", c.OffsetMetadataMax))
	}
	return errors.Join(errs...)
}
