package wire

// RequestHeader is what every request begins with, after the size of its frame (KIP-482 for the tags).
type RequestHeader struct {
	Key           Key
	Version       int16
	CorrelationID int32
	ClientID      []byte // nil is null, which the broker takes for ""; aliases the frame
	Tags          Tags   // flexible versions only
}

// Decode reads the header; the error is in r. Whether it has tags follows from the key and version: a
// version above the known ones has what the last one has, so that ApiVersions can be answered (KIP-511).
// The header of an unknown key is read without tags; the caller refuses it.
func (h *RequestHeader) Decode(r *Reader) {
	h.Key = Key(r.Int16())
	h.Version = r.Int16()
	h.CorrelationID = r.Int32()
	h.ClientID = r.name(false, true)
	h.Tags = h.Tags[:0]
	if h.flexible() {
		h.Tags = r.Tags(h.Tags)
	}
}

// Encode writes the header; the error is in w.
func (h *RequestHeader) Encode(w *Writer) {
	w.Int16(int16(h.Key))
	w.Int16(h.Version)
	w.Int32(h.CorrelationID)
	w.name(h.ClientID, false, true)
	w.tags(h.Tags, h.flexible())
}

func (h *RequestHeader) flexible() bool {
	v, ok := VersionsOf(h.Key)
	return ok && h.Version >= v.FirstFlexible
}

// EncodeRequest writes a whole frame: size, header and m, whose key h gets.
func EncodeRequest(w *Writer, h *RequestHeader, m Request) {
	h.Key = m.Key()
	start := w.Size()
	w.Int32(0)
	h.Encode(w)
	m.Encode(w, h.Version)
	w.SetInt32(start, int32(w.Size()-start-4))
}

// EncodeResponse writes a whole frame: size, header and m.
func EncodeResponse(w *Writer, m Response, version int16, correlationID int32) {
	start := w.Size()
	w.Int32(0)
	EncodeResponseHeader(w, m.Key(), version, correlationID)
	m.Encode(w, version)
	w.SetInt32(start, int32(w.Size()-start-4))
}

// EncodeResponseHeader writes the header of a response, without the size of the frame. ApiVersions has
// header version 0 always: a client reads that answer before it knows what the broker speaks (KIP-511).
func EncodeResponseHeader(w *Writer, k Key, version int16, correlationID int32) {
	w.Int32(correlationID)
	if flexibleResponse(k, version) {
		w.Uvarint(0)
	}
}

// DecodeResponseHeader reads what EncodeResponseHeader writes; tags are dropped. The error is in r.
func DecodeResponseHeader(r *Reader, k Key, version int16) (correlationID int32) {
	correlationID = r.Int32()
	if flexibleResponse(k, version) {
		r.Tags(nil)
	}
	return correlationID
}

func flexibleResponse(k Key, version int16) bool {
	v, ok := VersionsOf(k)
	return ok && k != KeyAPIVersions && version >= v.FirstFlexible
}
