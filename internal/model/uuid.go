package model

import (
	"encoding/base64"
	"fmt"
	"io"
)

// UUID identifies a topic, a log directory or a process incarnation. Its text form is Kafka's: 22
// characters of unpadded URL-safe base64. The zero value means "none" and is never given out.
type UUID [16]byte

// TopicID identifies one incarnation of a topic: a topic deleted and created again under the same name
// has another id (KIP-516).
type TopicID = UUID

// MetadataTopicID is the reserved id of the cluster metadata log; NewUUID never returns it.
var MetadataTopicID = UUID{15: 1}

// NewUUID draws a version 4 UUID from random. As in Kafka it never returns one whose text form starts
// with '-', since command lines would take that for a flag.
func NewUUID(random io.Reader) (UUID, error) {
	for {
		var u UUID
		if _, err := io.ReadFull(random, u[:]); err != nil {
			return UUID{}, fmt.Errorf("draw a uuid: %w", err)
		}
		u[6] = u[6]&0x0f | 0x40
		u[8] = u[8]&0x3f | 0x80
		if u.String()[0] != '-' {
			return u, nil
		}
	}
}

// ParseUUID reads the text form that String writes.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 22 {
		return UUID{}, fmt.Errorf("uuid %q has %d characters, want 22 of URL-safe base64", s, len(s))
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(u[:], []byte(s)); err != nil {
		return UUID{}, fmt.Errorf("uuid %q: %w", s, err)
	}
	return u, nil
}

// String returns the 22-character text form.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// IsZero reports whether u is "none".
func (u UUID) IsZero() bool { return u == UUID{} }
