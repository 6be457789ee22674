package metadata_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	apimetadata "github.com/walser-io/walser/internal/kafka/api/metadata"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One request may name more topics than anyone has. They are created together, and no more at a time than one
// change of the cluster may carry.
func TestMetadata_CreatesTopicsTogetherAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		created := make(chan []string)
		proceed := make(chan struct{})
		send := serve(t, server.Config{}, metadata.Empty(), func(_ context.Context, names []string) {
			created <- names
			<-proceed
		})
		ask := func(names ...string) {
			req := &wire.MetadataRequest{}
			req.Reset()
			for _, name := range names {
				wire.Add(&req.Topics).Name = []byte(name)
			}
			req.AllowAutoTopicCreation = true
			send(9, req)
		}
		names := make([]string, 12_000)
		for i := range names {
			names[i] = fmt.Sprint("t", i)
		}
		ask(names...)
		if first := <-created; len(first) != 10_000 || first[0] != "t0" || first[9_999] != "t9999" {
			t.Errorf("%d topics are created, want 10000", len(first))
		}
		ask(names[11_000:]...)
		synctest.Wait()
		select {
		case more := <-created:
			t.Errorf("%d more are created meanwhile", len(more))
		default:
		}
		proceed <- struct{}{}
		synctest.Wait()

		ask(names[11_000:]...)
		if second := <-created; len(second) != 1_000 || second[0] != "t11000" {
			t.Errorf("then %d topics are created, want 1000 from t11000 on", len(second))
		}
		ask(names[11_500:]...) // which are under way
		synctest.Wait()
		select {
		case again := <-created:
			t.Errorf("%d topics are created twice", len(again))
		default:
		}
		proceed <- struct{}{}
	})
}

// serve serves the APIs of this package over a cluster. send sends a request in a version and returns its answer,
// without the size; nil if the connection is closed instead.
func serve(t *testing.T, config server.Config, img *metadata.Image, create func(context.Context, []string)) (send func(version int16, req wire.Request) []byte) {
	t.Helper()
	s, err := server.New(apimetadata.APIs(apimetadata.Deps{
		Image: func() *metadata.Image { return img }, Recovering: func(model.TopicID, int32) bool { return false }, CreateTopics: create,
		Settings: func() apimetadata.Settings {
			return apimetadata.Settings{AutoCreateTopics: true, PartitionSizeLimit: math.MaxInt32}
		},
	}), config, server.Deps{
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Wall: time.Now,
		Features:  func() server.Features { return server.Features{Epoch: -1} },
		ClusterID: func() string { return "cluster" },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran, served := make(chan struct{}), make(chan struct{})
	ours, theirs := net.Pipe()
	go func() {
		defer close(ran)
		_ = s.Run(ctx) // its context's end
	}()
	go func() {
		defer close(served)
		_ = s.ServeConn(ctx, theirs, server.ConnInfo{})
	}()
	t.Cleanup(func() {
		ours.Close()
		<-served
		cancel()
		<-ran
	})
	return func(version int16, req wire.Request) []byte {
		t.Helper()
		var w wire.Writer
		wire.EncodeRequest(&w, &wire.RequestHeader{Version: version}, req)
		if w.Err() != nil {
			t.Fatal(w.Err())
		}
		if _, err := ours.Write(w.Bytes()); err != nil {
			t.Fatal(err)
		}
		var size [4]byte
		if _, err := io.ReadFull(ours, size[:]); err != nil {
			return nil
		}
		answer := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(ours, answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
}
