package node

import (
	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/kafka/server"
)

// APITable returns the table that every node serves, of a node that nobody may run.
func APITable() []server.API { return (&Node{cfg: &config.Node{}}).apis() }
