// Package metaconfig resolves configuration: it lays the layers over one another, the strongest first,
//
//	topic or group override  >  broker's dynamic value  >  cluster's dynamic default  >  static value  >  default
//
// and answers typed values (Topic, Broker), the entries of a DescribeConfigs answer with Kafka's synonyms,
// and whether a change by AlterConfigs or IncrementalAlterConfigs is allowed and what it stores.
//
// A Resolver is immutable: an image whose broker configuration differs makes a new one, and With returns
// the same one where nothing differs. Where several keys feed one value (log.retention.ms, .minutes and
// .hours, KIP-226), a stronger layer wins over a better key: a dynamic log.retention.ms over whatever the
// file says.
//
// It must never know of files, the network or the metadata's records: Source is all it sees of an image.
package metaconfig
