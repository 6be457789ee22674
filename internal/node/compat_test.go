package node_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/node"
)

var rewrite = flag.Bool("rewrite", false, "rewrite docs/api-compat.md")

// TestAPICompat holds docs/api-compat.md to the table that the server is built from.
func TestAPICompat(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# APIs served

Made from the table in internal/node/features.go by a test (` + "`go test ./internal/node -rewrite`" + `). What is not
here is not served, and not advertised: a request for it closes the connection, as in Kafka. ApiVersions (18,
v0-5) belongs to the server itself.

| key | name | versions | overlaps with |
|---|---|---|---|
`)
	table := node.APITable()
	slices.SortFunc(table, func(x, y server.API) int { return cmp.Compare(x.Key, y.Key) })
	for _, api := range table {
		versions := fmt.Sprintf("%d-%d", api.Min, api.Max)
		if api.AdvertiseFromZero {
			versions += ", advertised from 0"
		}
		order := "nothing on its connection"
		if api.Order == server.Pipelined {
			order = "others of its kind"
		}
		fmt.Fprintf(&b, "| %d | %v | %s | %s |\n", api.Key, api.Key, versions, order)
	}
	const file = "../../docs/api-compat.md"
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(committed) != b.String() {
		t.Errorf("%s is not what the table says; go test ./internal/node -rewrite", file)
	}
}
