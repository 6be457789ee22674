// Package logs serves DeleteRecords and DescribeLogDirs: what operators ask of logs and of the
// directories that hold them.
package logs
