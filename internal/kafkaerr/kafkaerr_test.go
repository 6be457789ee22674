package kafkaerr_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/kafkaerr"
)

func TestCodeOf(t *testing.T) {
	wrapped := fmt.Errorf("append: %w", kafkaerr.New(kafkaerr.MessageTooLarge, "the batch has %d bytes", 9))
	for _, tc := range []struct {
		name    string
		err     error
		code    kafkaerr.Code
		message string
	}{
		{"nil", nil, kafkaerr.None, ""},
		{"bare code", kafkaerr.InvalidRecord, kafkaerr.InvalidRecord, ""},
		{"wrapped with a message", wrapped, kafkaerr.MessageTooLarge, "the batch has 9 bytes"},
		{
			"a long message, cut off between letters", kafkaerr.New(kafkaerr.InvalidConfig, "%s", "x"+strings.Repeat("ä", 20_000)),
			kafkaerr.InvalidConfig, "x" + strings.Repeat("ä", 1023) + "...",
		},
		{"foreign error", errors.New("open /secret: denied"), kafkaerr.UnknownServerError, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := kafkaerr.CodeOf(tc.err); got != tc.code {
				t.Errorf("CodeOf = %v, want %v", got, tc.code)
			}
			if got := kafkaerr.MessageOf(tc.err); got != tc.message {
				t.Errorf("MessageOf = %q, want %q", got, tc.message)
			}
		})
	}
}

// The table is indexed by code: a row too many or too few would shift every name after it.
func TestCode_NamesStandAtTheirNumbers(t *testing.T) {
	for code, name := range map[kafkaerr.Code]string{
		-1: "UNKNOWN_SERVER_ERROR", 0: "NONE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
		87: "INVALID_RECORD", 100: "UNKNOWN_TOPIC_ID", 129: "REBOOTSTRAP_REQUIRED",
		136: "CONTROLLER_ID_NOT_REGISTERED", 137: "UNKNOWN(137)", -2: "UNKNOWN(-2)",
	} {
		if got := code.Error(); got != name {
			t.Errorf("code %d is named %s, want %s", int16(code), got, name)
		}
	}
	if !kafkaerr.NotLeaderOrFollower.Retriable() || kafkaerr.InvalidRequest.Retriable() {
		t.Error("NOT_LEADER_OR_FOLLOWER is retriable and INVALID_REQUEST is not")
	}
}
