// Package config reads a node's static settings: the layers that are there before the node starts.
//
//	--set key=value  >  environment (WALSER_*, then KAFKA_*)  >  file (properties or YAML)  >  default
//
// Keys are Kafka's, from package configdef, so Kafka's own server.properties is read as it stands.
// Load either returns settings in which every value is allowed and every rule between keys holds, or one
// error that lists every fault with its key, value, bound, where it was set, and what to do. What is
// merely strange (unknown keys, keys without an effect here, an open listener) becomes a Warning. No key
// is ignored without a word, and no secret appears in a message.
//
// Settings that can change while a node runs are only the lowest layer here; package metaconfig puts the
// dynamic ones above it.
package config
