package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/loadgen"
)

// The kinds of case whose rounds each have a process of their own.

const (
	probeEvery = 5 * time.Millisecond
	dialers    = 50 // connections that are being opened at once
)

// freshRound measures one round of such a case.
func (b *bench) freshRound(ctx context.Context, c *benchCase, p *peer, dir string) (m measurement, err error) {
	broker, err := p.start(ctx, dir)
	if err != nil {
		return m, err
	}
	defer func() {
		if end := broker.end(); err == nil {
			err = end
		}
	}()
	switch c.kind {
	case startUp:
		m.StartUp = broker.startUp
		b.rest(ctx)
		_, m.IdleRSS, err = broker.memory()
	case idleConnections:
		err = b.holdConnections(ctx, broker, &m)
	case restart:
		broker, err = b.kill(ctx, c, p, broker, &m)
	}
	if err != nil {
		return m, broker.explain(err)
	}
	m.PeakRSS, _, err = broker.memory()
	return m, err
}

// rest gives a broker time to do what it has put off.
func (b *bench) rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(min(b.Measure, 3*time.Second)):
	}
}

// holdConnections measures what open connections add to the memory of a broker.
func (b *bench) holdConnections(ctx context.Context, broker *process, m *measurement) error {
	b.rest(ctx)
	_, before, err := broker.memory()
	if err != nil {
		return err
	}
	conns := make([]net.Conn, idleConns)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close() // nothing is in it
			}
		}
	}()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var opening sync.WaitGroup
	for first := range dialers {
		opening.Go(func() {
			for i := first; i < idleConns && ctx.Err() == nil; i += dialers {
				var err error
				if conns[i], err = connect(ctx, broker.addr); err != nil {
					fail(fmt.Errorf("open connection %d: %w", i, err))
				}
			}
		})
	}
	opening.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.rest(ctx)
	_, after, err := broker.memory()
	m.ConnectionsRSS = after - before
	return err
}

// kill puts records into every partition, kills the broker and measures how soon the next process of the same
// directory acknowledges a record: by its last partition, then by all of them. It returns the process that
// runs.
func (b *bench) kill(ctx context.Context, c *benchCase, p *peer, broker *process, m *measurement) (*process, error) {
	if err := loadgen.CreateTopic(ctx, b.cluster(broker), c.load); err != nil {
		return broker, err
	}
	if err := touchPartitions(ctx, broker, c.load); err != nil {
		return broker, err
	}
	values := loadgen.NewPayloads(c.load.Seed, c.load.RecordBytes, c.load.Redundancy)
	small := c.load
	small.BatchBytes = 0 // one record
	one, _ := loadgen.EncodeProduce(&small, values, 0, numbersFrom(c.load.Partitions-1, 1))
	all, _ := loadgen.EncodeProduce(&small, values, 0, numbersFrom(0, c.load.Partitions))
	cmd := p.command(broker.place)

	killed := time.Now()
	if err := broker.end(); err != nil {
		return broker, err
	}
	next, err := launch(p.name, broker.place, cmd)
	if err != nil {
		return broker, err
	}
	return next, next.ready(ctx, func(ctx context.Context) error {
		if err := again(ctx, probeEvery, func() error { return produce(ctx, next.addr, one) }); err != nil {
			return fmt.Errorf("produce to the last partition: %w", err)
		}
		m.Acknowledged = time.Since(killed)
		if err := again(ctx, probeEvery, func() error { return produce(ctx, next.addr, all) }); err != nil {
			return fmt.Errorf("produce to every partition: %w", err)
		}
		m.AllServed = time.Since(killed)
		return nil
	})
}

// touchPartitions puts one batch into every partition.
func touchPartitions(ctx context.Context, broker *process, load loadgen.Load) error {
	values := loadgen.NewPayloads(load.Seed, load.RecordBytes, load.Redundancy)
	const atOnce = 50
	for first := 0; first < load.Partitions; first += atOnce {
		request, _ := loadgen.EncodeProduce(&load, values, 0, numbersFrom(first, min(atOnce, load.Partitions-first)))
		if err := produce(ctx, broker.addr, request); err != nil {
			return fmt.Errorf("put records into every partition: %w", err)
		}
	}
	return nil
}

func numbersFrom(first, count int) []int32 {
	numbers := make([]int32, count)
	for i := range numbers {
		numbers[i] = int32(first + i)
	}
	return numbers
}

// cluster returns how loadgen finds a broker.
func (b *bench) cluster(broker *process) []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(broker.addr), kgo.ClientID("walser-bench"), kgo.MetadataMinAge(100 * time.Millisecond)}
}
