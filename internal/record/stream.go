package record

// stream inflates the records of a compressed batch.
type stream struct{}

func (*stream) nextRecord() ([]byte, error) { return nil, ErrUnknownCodec }
func (*stream) expectEnd() error            { return nil }

type capped struct {
	b     []byte
	limit int
}

type compressor interface {
	Write(p []byte) (int, error)
	Close() error
}

func (s *Scratch) compressorFor(Codec, int, *capped) (compressor, error) {
	return nil, ErrUnknownCodec
}
