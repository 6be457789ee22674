package loadgen

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// CreateTopic creates the load's topic with the cluster's defaults, one replica, and waits until every
// partition has a leader that answers.
func CreateTopic(ctx context.Context, cluster []kgo.Opt, load Load) error {
	client, err := kgo.NewClient(cluster...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, int32(load.Partitions), 1, nil, load.Topic); err != nil {
		return fmt.Errorf("create topic %s: %w", load.Topic, err)
	}
	return awaitLeaders(ctx, admin, load)
}

// AwaitLeaders waits until every partition of the load's topic has a leader that answers.
func AwaitLeaders(ctx context.Context, cluster []kgo.Opt, load Load) error {
	client, err := kgo.NewClient(cluster...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	return awaitLeaders(ctx, kadm.NewClient(client), load)
}

func awaitLeaders(ctx context.Context, admin *kadm.Client, load Load) error {
	for {
		_, err := endOffsets(ctx, admin, load)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the leaders of topic %s: %w (%w)", load.Topic, ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// DeleteTopic deletes the load's topic. Brokers remove its files when they see fit.
func DeleteTopic(ctx context.Context, cluster []kgo.Opt, load Load) error {
	client, err := kgo.NewClient(cluster...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(ctx, load.Topic); err != nil {
		return fmt.Errorf("delete topic %s: %w", load.Topic, err)
	}
	return nil
}

// Held returns how many records the load's topic holds: the sum of its end offsets.
func Held(ctx context.Context, cluster []kgo.Opt, load Load) (records int64, err error) {
	offsets, err := ends(ctx, cluster, load)
	return sum(offsets), err
}

// ends returns the end offset of each partition, by its number.
func ends(ctx context.Context, cluster []kgo.Opt, load Load) ([]int64, error) {
	client, err := kgo.NewClient(cluster...)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	return endOffsets(ctx, kadm.NewClient(client), load)
}

// bounds returns where each partition begins and ends.
func bounds(ctx context.Context, cluster []kgo.Opt, load Load) (from, until []int64, err error) {
	client, err := kgo.NewClient(cluster...)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, load.Topic)
	if from, err = load.byPartition(starts, err); err != nil {
		return nil, nil, fmt.Errorf("list the start offsets of topic %s: %w", load.Topic, err)
	}
	until, err = endOffsets(ctx, admin, load)
	return from, until, err
}

func endOffsets(ctx context.Context, admin *kadm.Client, load Load) ([]int64, error) {
	listed, err := admin.ListEndOffsets(ctx, load.Topic)
	offsets, err := load.byPartition(listed, err)
	if err != nil {
		return nil, fmt.Errorf("list the end offsets of topic %s: %w", load.Topic, err)
	}
	return offsets, nil
}

// byPartition returns what was listed of the load's topic, unless that failed.
func (l *Load) byPartition(listed kadm.ListedOffsets, err error) ([]int64, error) {
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, err
	}
	if has := len(listed[l.Topic]); has != l.Partitions {
		return nil, fmt.Errorf("it has %d partitions, the load wants %d", has, l.Partitions)
	}
	offsets := make([]int64, l.Partitions)
	listed.Each(func(o kadm.ListedOffset) { offsets[o.Partition] = o.Offset })
	return offsets, nil
}

func sum(offsets []int64) (total int64) {
	for _, offset := range offsets {
		total += offset
	}
	return total
}
