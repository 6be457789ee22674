package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/walser-io/walser/internal/model"
)

// Listener is one named address of a node: one to listen on, or one that clients are told.
type Listener struct {
	// Name in upper case, as in EXTERNAL.
	Name string
	// Host is a name or address; "" stands for every interface where a node listens, and for the
	// node's own host name where clients are told.
	Host string
	// Port is 0 for one that the kernel chooses; an advertised 0 stands for the port that was chosen.
	Port     int32
	Protocol model.SecurityProtocol
}

// Address returns host:port, as net.Listen takes it.
func (l Listener) Address() string { return net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))) }

// String returns NAME://host:port.
func (l Listener) String() string { return l.Name + "://" + l.Address() }

// Loopback reports whether only this machine can reach the listener.
func (l Listener) Loopback() bool {
	if l.Host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(l.Host)
	return err == nil && address.Unmap().IsLoopback()
}

// endpoint is Kafka's notation: NAME://host:port, the host in brackets if it is an IPv6 address.
var endpoint = regexp.MustCompile(`^([^:/\s]+)://(?:\[([0-9a-fA-F:.%]+[0-9a-zA-Z]*)\]|([0-9a-zA-Z\-%._:]*)):([0-9]+)$`)

func parseListener(text string) (Listener, error) {
	m := endpoint.FindStringSubmatch(text)
	if m == nil {
		return Listener{}, fmt.Errorf("%q is not NAME://host:port", text)
	}
	port, err := strconv.ParseUint(m[4], 10, 16)
	if err != nil {
		return Listener{}, fmt.Errorf("%q: the port is not between 0 and 65535", text)
	}
	return Listener{Name: strings.ToUpper(m[1]), Host: m[2] + m[3], Port: int32(port)}, nil
}

var protocols = map[string]model.SecurityProtocol{
	"PLAINTEXT": model.Plaintext, "SSL": model.SSL, "SASL_PLAINTEXT": model.SASLPlaintext, "SASL_SSL": model.SASLSSL,
}

// listenerSettings collects what the keys about listeners say together.
type listenerSettings struct {
	clients     []Listener
	controllers []Listener
	advertised  []Listener
	interBroker string
}

func (s *Static) listeners(faults *Faults) listenerSettings {
	var l listenerSettings
	controllerNames := upper(s.value("controller.listener.names").List())
	protocolOf := s.protocolMap(controllerNames, faults)
	bound := s.parseListeners("listeners", protocolOf, faults)
	s.checkPorts(bound, faults)
	for _, one := range bound {
		if slices.Contains(controllerNames, one.Name) {
			l.controllers = append(l.controllers, one)
		} else {
			l.clients = append(l.clients, one)
		}
	}
	for _, name := range controllerNames {
		if !slices.ContainsFunc(bound, func(b Listener) bool { return b.Name == name }) {
			s.warn(s.entry("controller.listener.names"), "%s is not in listeners; none is needed while this node is the only controller", name)
		}
	}
	for _, one := range l.controllers {
		s.warn(s.entry("listeners"), "%s is not opened: this node is the only controller and reaches itself directly", one)
	}
	if len(l.clients) == 0 && len(bound) > 0 {
		s.fault(faults, "listeners", "must have a listener that is not in controller.listener.names", "add PLAINTEXT://:9092")
	}
	for _, one := range l.clients {
		if one.Protocol != model.Plaintext {
			s.fault(faults, "listeners", fmt.Sprintf("%s asks for %s, which is not served yet", one, one.Protocol),
				"map the listener to PLAINTEXT in listener.security.protocol.map only if the network is trusted")
		} else if s.isSet("listeners") && !one.Loopback() {
			s.warn(s.entry("listeners"), "%s is open to the network without authentication or encryption", one)
		}
	}
	l.advertised = s.advertised(l.clients, controllerNames, protocolOf, faults)
	l.interBroker = s.interBroker(l.advertised, faults)
	return l
}

// protocolMap reads listener.security.protocol.map. While it is not set, controller listeners are
// PLAINTEXT without being named in it.
func (s *Static) protocolMap(controllerNames []string, faults *Faults) map[string]model.SecurityProtocol {
	const key = "listener.security.protocol.map"
	m := map[string]model.SecurityProtocol{}
	if !s.isSet(key) {
		for _, name := range controllerNames {
			m[name] = model.Plaintext
		}
	}
	for pair := range strings.SplitSeq(s.value(key).Text(), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, protocol, ok := cutLast(pair, ":")
		p, known := protocols[strings.ToUpper(strings.TrimSpace(protocol))]
		if !ok || !known {
			s.fault(faults, key, fmt.Sprintf("%q is not NAME:PROTOCOL", pair), "use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
			continue
		}
		m[strings.ToUpper(strings.TrimSpace(name))] = p
	}
	return m
}

func (s *Static) parseListeners(key string, protocolOf map[string]model.SecurityProtocol, faults *Faults) []Listener {
	var all []Listener
	for _, text := range s.value(key).List() {
		one, err := parseListener(text)
		if err != nil {
			s.fault(faults, key, err.Error(), "write for example PLAINTEXT://127.0.0.1:9092")
			continue
		}
		if slices.ContainsFunc(all, func(other Listener) bool { return other.Name == one.Name }) {
			s.fault(faults, key, "has two listeners of the name "+one.Name, "give each a name of its own and map it in listener.security.protocol.map")
			continue
		}
		p, ok := protocolOf[one.Name]
		if !ok {
			s.fault(faults, key, "has a listener "+one.Name+" whose security protocol is not known",
				"add "+one.Name+":PLAINTEXT (or its protocol) to listener.security.protocol.map")
			continue
		}
		one.Protocol = p
		all = append(all, one)
	}
	return all
}

// checkPorts refuses two listeners on one port, but for one on IPv4 and one on IPv6.
func (s *Static) checkPorts(all []Listener, faults *Faults) {
	for i, a := range all {
		for _, b := range all[:i] {
			if a.Port != b.Port || a.Port == 0 {
				continue
			}
			x, errX := netip.ParseAddr(a.Host)
			y, errY := netip.ParseAddr(b.Host)
			if errX != nil || errY != nil || x.Is4() == y.Is4() {
				s.fault(faults, "listeners", fmt.Sprintf("%s and %s have the same port", b, a), "give each a port of its own")
			}
		}
	}
}

func (s *Static) advertised(clients []Listener, controllerNames []string, protocolOf map[string]model.SecurityProtocol, faults *Faults) []Listener {
	const key = "advertised.listeners"
	if !s.isSet(key) {
		advertised := slices.Clone(clients)
		for i := range advertised {
			if a, err := netip.ParseAddr(advertised[i].Host); err == nil && a.IsUnspecified() {
				advertised[i].Host = ""
			}
		}
		return advertised
	}
	var advertised []Listener
	for _, one := range s.parseListeners(key, protocolOf, faults) {
		if slices.Contains(controllerNames, one.Name) {
			continue
		}
		if !slices.ContainsFunc(clients, func(c Listener) bool { return c.Name == one.Name }) {
			s.fault(faults, key, "names "+one.Name+", which is not in listeners", "add it to listeners, or remove it here")
		}
		if a, err := netip.ParseAddr(one.Host); err == nil && a.IsUnspecified() {
			s.fault(faults, key, fmt.Sprintf("%s is no address that a client can connect to", one), "use a host name or address that clients can reach")
		}
		advertised = append(advertised, one)
	}
	if len(advertised) == 0 && len(clients) > 0 {
		s.fault(faults, key, "must name a listener that is not in controller.listener.names", "add one of listeners")
	}
	return advertised
}

// interBroker returns the name of the listener that nodes use among themselves. While neither key is set
// it is the listener named PLAINTEXT, as in Kafka, or else the first.
func (s *Static) interBroker(advertised []Listener, faults *Faults) string {
	const key, protocolKey = "inter.broker.listener.name", "security.inter.broker.protocol"
	has := func(name string) bool {
		return slices.ContainsFunc(advertised, func(a Listener) bool { return a.Name == name })
	}
	switch {
	case s.isSet(key) && s.isSet(protocolKey):
		s.fault(faults, key, "must not be set together with "+protocolKey, "remove "+protocolKey)
	case s.isSet(key):
		name := strings.ToUpper(s.value(key).Text())
		if !has(name) && len(advertised) > 0 {
			s.fault(faults, key, "must be one of the advertised listeners: "+names(advertised), "")
		}
		return name
	case s.isSet(protocolKey):
		name := s.value(protocolKey).Text()
		if !has(name) && len(advertised) > 0 {
			s.fault(faults, protocolKey, "must be the name of an advertised listener: "+names(advertised), "set "+key+" instead")
		}
		return name
	}
	if len(advertised) > 0 && !has("PLAINTEXT") {
		return advertised[0].Name
	}
	return "PLAINTEXT"
}

func names(listeners []Listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, l.Name)
	}
	return strings.Join(all, ", ")
}

func upper(list []string) []string {
	var all []string
	for _, s := range list {
		all = append(all, strings.ToUpper(s))
	}
	return all
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// entry returns a key as it is set, or as its default.
func (s *Static) entry(name string) setting {
	if one, ok := s.entries[name]; ok {
		return one
	}
	return setting{name: name}
}

func (s *Static) fault(faults *Faults, field, bound, fix string) {
	one := s.entry(field)
	*faults = append(*faults, Fault{Field: field, Value: one.value, Bound: bound, Source: one.source, Fix: fix})
}
