package topics

import "github.com/walser-io/walser/internal/kafkaerr"

// answer returns an error as the two fields that most responses have for it. The message is nil without
// an error, and where the error has none.
func answer(err error) (code kafkaerr.Code, message *string) {
	if text := kafkaerr.MessageOf(err); text != "" {
		message = &text
	}
	return kafkaerr.CodeOf(err), message
}
