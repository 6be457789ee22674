// Package e2e runs stock Kafka clients and tools against the walser binary: the table of client × step
// (matrix_test.go), the tools of Apache Kafka, and what happens to clients when the node is stopped, killed,
// attacked (hostile_test.go) or out of disk.
//
// The long tests are CI-sized unless told otherwise: E2E_HOSTILE=30s for the attacks, E2E_UPDATES=1000000 for
// compaction.
//
// The clients that are not Go live in the folder that E2E_TOOLS names; .ci/e2e installs them there. A
// client that is missing skips its row, except under E2E_REQUIRE=1, as in CI, where it fails.
package e2e
