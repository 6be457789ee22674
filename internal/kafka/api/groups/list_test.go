package groups_test

import (
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/coordinator/group"
)

// A list for which the budget of requests has no room is not made.
func TestListGroups_IsPaidFor(t *testing.T) {
	f := newFake(t)
	many := make([]group.ListedGroup, 250_000)
	f.answer = func(int32, any) any { return &group.ListGroupsResponse{Groups: many} }
	f.send(5, kmsg.NewPtrListGroupsRequest())
	if _, err := f.conn.Read(make([]byte, 4)); err != io.EOF {
		t.Errorf("a million groups are listed: %v", err)
	}
}
