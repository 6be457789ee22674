// Package differential holds Walser to what Apache Kafka 4.3.1 answers, request by request.
//
// testdata/*.txt are scripts of raw requests, one file per area, with the answers of Apache Kafka
// recorded below each. The test sends every script to a fresh Walser and compares, so it needs no
// Java; E2E_PEER=1 sends them to a fresh Apache Kafka (from E2E_TOOLS) and compares its answers with the
// recorded ones, and with -rewrite records them.
//
//	# Prose, kept as it stands.
//
//	case acks 2 is none of the three
//	Produce v3..13 {Acks: 2, TopicData: [{Name: "t", PartitionData: [{Records: batch{records: ["a"]}}]}]}
//	---- v3..8
//	{...}
//	---- v9..13
//	{...}
//
// A request is sent once per version, in order; versions with one answer share a section. Fields have
// the names of internal/wire, and those left out keep Kafka's presets, in answers too. What cannot be
// equal is masked: ids, times, ports, cluster and session ids, and the texts of errors (see render).
// Lines between "case" and the request:
//
//	on b                 use connection b (opened at first use) instead of the case's own default one
//	client x             send this client id
//	later                do not wait for the answer; a case with the request "await" collects it
//	save pid=ProducerID  keep a field of the answer as $pid
//	retry NAME...        send again while the answer has one of these errors (what clients do, too)
//	differs reason       Walser answers otherwise, on purpose: its answer is recorded in sections
//	                     "---- walser ..." and the reason is a paragraph of differences.txt
//
// Values that cannot be written down are called for: batch{records: ["a"], crc: 1}, id("t") of a topic, uuid(1)
// of none, repeat("a", 300), subscription("t") of a consumer, each("g") for a name that every version has for
// itself, and each($m) for what this version has saved.
//
// The requests "raw key=18 version=99 body=00" and "bytes 00000001" send what no encoder would.
package differential
