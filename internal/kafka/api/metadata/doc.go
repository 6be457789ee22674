// Package metadata serves Metadata, DescribeCluster and DescribeTopicPartitions: what clients know of
// brokers, topics and leaders.
//
// Every answer comes from one immutable image, so that topics, leaders and epochs in it belong together;
// leader epochs never go back from one answer to the next. Endpoints are those of the listener that the
// request came in by.
package metadata
