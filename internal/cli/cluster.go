package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// Cluster is the noun cluster.
type Cluster struct {
	ID         string   `json:"id"`
	Controller int32    `json:"controller"` // -1: none
	Brokers    []Broker `json:"brokers"`
}

// Broker is the noun broker.
type Broker struct {
	ID   int32  `json:"id"`
	Host string `json:"host"`
	Port int32  `json:"port"`
	Rack string `json:"rack,omitempty"`
}

func (a *app) clusterCommand() *cobra.Command {
	info := &cobra.Command{
		Use:   "info",
		Short: "Show the cluster's id, controller and brokers",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, c *client) error {
				m, err := c.admin.BrokerMetadata(ctx)
				if err != nil {
					return fmt.Errorf("ask for the brokers: %w", err)
				}
				cluster := Cluster{ID: m.Cluster, Controller: m.Controller, Brokers: []Broker{}}
				brokers := section{title: "BROKERS", headers: []string{"ID", "HOST", "PORT", "RACK"}, numeric: []int{0, 2}}
				for _, b := range m.Brokers {
					broker := Broker{ID: b.NodeID, Host: b.Host, Port: b.Port}
					if b.Rack != nil {
						broker.Rack = *b.Rack
					}
					cluster.Brokers = append(cluster.Brokers, broker)
					brokers.rows = append(brokers.rows, []any{broker.ID, broker.Host, broker.Port, broker.Rack})
				}
				head := section{title: "CLUSTER", headers: []string{"ID", "CONTROLLER", "BROKERS"}, numeric: []int{1, 2}, rows: [][]any{{cluster.ID, cluster.Controller, len(cluster.Brokers)}}}
				return printOne(a, cluster, head, brokers)
			})
		},
	}
	return parent("cluster", "Look at the cluster", nil, info)
}
