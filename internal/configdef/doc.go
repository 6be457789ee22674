// Package configdef is the table of every configuration key: Kafka's broker, topic, group and client
// metrics keys under Kafka's names, and Walser's few own ones.
//
// A row says a key's type, default, bound, whether and how far it can change while a node runs, its
// synonyms, and one line of documentation. It also says where Walser is not Kafka: a default that
// differs carries Kafka's default and the reason, and a key that changes nothing here carries the
// reason in NoEffect. docs/config-compat.md is rendered from these rows, so nothing differs silently.
//
// The facts are those of Apache Kafka 4.3.1; testdata/kafka-4.3.1.tsv holds them and a test compares
// every row. Update modes follow KIP-226, topic keys KIP-4 and KIP-1161 (lists).
//
// The package only knows what a value may be. It must never know where a value came from: files and
// environment are package config's, layers and precedence package metaconfig's.
package configdef
