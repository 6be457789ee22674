package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Admin is what a test plays the cluster with.
type Admin = admin

// MainWith is Main against a cluster that adm plays.
func MainWith(ctx context.Context, deps Deps, adm Admin, args []string) int {
	a := newApp(deps)
	a.connect = func(context.Context, []kgo.Opt) (*client, error) { return &client{admin: adm}, nil }
	return a.main(ctx, args)
}

// PlaceRange parses a range and places it in a partition; times are found at time/1000.
func PlaceRange(text string, now time.Time, start, end int64) (string, error) {
	r, err := parseRange(text, now)
	if err != nil {
		return "", err
	}
	after := func(ms int64) (int64, error) { return ms / 1000, nil }
	from, err := r.from.place(start, end, after)
	if err != nil || r.to == nil {
		return fmt.Sprintf("%d:", from), err
	}
	to, err := r.to.place(start, end, after)
	return fmt.Sprintf("%d:%d", from, to), err
}

// ReadAll reads all records of an input as produce does.
func ReadAll(in io.Reader, format string) ([]*kgo.Record, error) {
	q := production{topic: "t", format: format, json: format == "json", partition: -1}
	next, err := q.source(in)
	for all := []*kgo.Record(nil); err == nil; {
		var r *kgo.Record
		if r, err = next(); errors.Is(err, io.EOF) {
			return all, nil
		}
		all = append(all, r)
	}
	return nil, err
}

// LookFor is lookFor.
var LookFor = lookFor

// AsText is asText.
var AsText = asText
