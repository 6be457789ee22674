package group

import (
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/kafkaerr"
)

// describeNamesMissingGroup is the version of DescribeGroups from which on a missing group is an error
// (KIP-1043).
const describeNamesMissingGroup = 6

// list serves a ListGroups. Blanks around a state are overlooked, as in Kafka; around a type they are not.
func (s *Shard) list(req *ListGroups) *ListGroupsResponse {
	response := &ListGroupsResponse{}
	states := make([]string, len(req.States))
	for i, state := range req.States {
		states[i] = strings.TrimSpace(state)
	}
	for _, g := range s.sorted() {
		state := g.state.String()
		if listed(states, state) && listed(req.Types, typeClassic) {
			response.Groups = append(response.Groups, ListedGroup{
				GroupID: g.id, ProtocolType: g.protocolType, State: state, Type: typeClassic,
			})
		}
	}
	return response
}

// listed reports whether filter lets value pass.
func listed(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
		return strings.EqualFold(f, value)
	})
}

// describe serves a DescribeGroups.
func (s *Shard) describe(req *DescribeGroups) *DescribeGroupsResponse {
	response := &DescribeGroupsResponse{Groups: make([]DescribedGroup, len(req.GroupIDs))}
	for i, id := range req.GroupIDs {
		g := s.groups[id]
		if g == nil {
			response.Groups[i] = missing(id, req.Version)
			continue
		}
		response.Groups[i] = g.described()
	}
	return response
}

// missing describes a group that is not there: clients have always been shown a dead one.
func missing(id string, version int16) DescribedGroup {
	d := DescribedGroup{GroupID: id, State: Dead.String()}
	if version >= describeNamesMissingGroup {
		err := kafkaerr.New(kafkaerr.GroupIDNotFound, "Group %s not found.", id)
		d.Err, d.Message = err.Code, kafkaerr.MessageOf(err)
	}
	return d
}

func (g *group) described() DescribedGroup {
	d := DescribedGroup{
		GroupID: g.id, State: g.state.String(), ProtocolType: g.protocolType,
		Members: make([]DescribedMember, len(g.members)),
	}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	for i, m := range g.members {
		d.Members[i] = DescribedMember{
			MemberID: m.id, InstanceID: m.instanceID, ClientID: m.clientID, ClientHost: m.clientHost,
			Assignment: m.assignment,
		}
		if g.state == Stable {
			d.Members[i].Metadata = m.metadata(g.protocol)
		}
	}
	return d
}
