package node

import (
	"fmt"
	"net"
	"os"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/model"
)

// bound is a listener of the configuration that listens.
type bound struct {
	config config.Listener
	net    net.Listener
}

// bind opens every client listener, or none. An address that is taken is syscall.EADDRINUSE.
func bind(listen func(network, address string) (net.Listener, error), listeners []config.Listener) ([]bound, error) {
	var all []bound
	for _, l := range listeners {
		socket, err := listen("tcp", l.Address())
		if err != nil {
			for _, b := range all {
				b.net.Close()
			}
			return nil, fmt.Errorf("listen on %s: %w", l, err)
		}
		all = append(all, bound{l, socket})
	}
	return all, nil
}

func (b bound) info() server.ListenerInfo {
	return server.ListenerInfo{Name: b.config.Name, Protocol: b.config.Protocol}
}

// advertised returns what clients are told: configured hosts and ports, with those that were left open
// filled in from what listens.
func advertised(listeners []config.Listener, all []bound) ([]model.Endpoint, error) {
	var endpoints []model.Endpoint
	for _, l := range listeners {
		e := model.Endpoint{Listener: l.Name, Host: l.Host, Port: l.Port, Protocol: l.Protocol}
		for _, b := range all {
			if b.config.Name != l.Name {
				continue
			}
			if at, ok := b.net.Addr().(*net.TCPAddr); ok && e.Port == 0 {
				e.Port = int32(at.Port)
			}
		}
		if e.Host == "" {
			host, err := os.Hostname()
			if err != nil {
				return nil, fmt.Errorf("find a host name for listener %s: %w: set `advertised.listeners`", l.Name, err)
			}
			e.Host = host
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}
