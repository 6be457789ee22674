package server

import (
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

// ApiVersions: v0-5. The server serves it because it is about the connection: which table, which client.
// Behaviour: always answered with response header v0. A version above ours is answered in the layout of
// v0 with UNSUPPORTED_VERSION and the range of this one key, its body unread (KIP-511).
// Versions: v3 names the client's software, which must match [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?,
// and has features as tagged fields; below v4 features that start at 0 are left out, since older clients
// fail on them (KAFKA-17492); v5 says which node the client means to talk to (KIP-1242).

// Features is what ApiVersions says of the cluster's features.
type Features struct {
	Supported []SupportedFeature
	Finalized []FinalizedFeature
	// Epoch is the version of Finalized; -1 while it is not known.
	Epoch int64
}

// SupportedFeature is a feature with the levels that this node can serve.
type SupportedFeature struct {
	Name     string
	Min, Max int16
}

// FinalizedFeature is a feature with the level that the cluster is at.
type FinalizedFeature struct {
	Name  string
	Level int16
}

// advertisedAPI is one line of the answer.
type advertisedAPI = wire.APIVersion

// apiVersions returns the row of ApiVersions.
func (s *Server) apiVersions() API {
	versions, _ := wire.VersionsOf(wire.KeyAPIVersions)
	return API{
		Key:    wire.KeyAPIVersions,
		Min:    versions.Min,
		Max:    versions.Max,
		Quota:  QuotaRequest,
		Order:  Barrier,
		Handle: s.handleAPIVersions,
	}
}

// advertise returns the table as ApiVersions shows it, in the order of the keys.
func (s *Server) advertise() []advertisedAPI {
	var lines []advertisedAPI
	for _, a := range s.apis {
		if a != nil {
			lines = append(lines, advertised(a))
		}
	}
	return lines
}

func advertised(a *api) advertisedAPI {
	line := advertisedAPI{APIKey: int16(a.Key), MinVersion: a.Min, MaxVersion: a.Max}
	if a.AdvertiseFromZero {
		line.MinVersion = 0
	}
	return line
}

func (s *Server) handleAPIVersions(r *Request) Outcome {
	req := r.Body.(*wire.APIVersionsRequest)
	resp := r.Response().(*wire.APIVersionsResponse)
	switch {
	case !r.api.serves(r.Version()):
		resp.ErrorCode = kafkaerr.UnsupportedVersion
		resp.APIKeys = append(resp.APIKeys, advertised(r.api))
	case !validAPIVersions(req, r.Version()):
		resp.ErrorCode = kafkaerr.InvalidRequest
	case r.Version() >= 5 && req.ClusterID != nil && (*req.ClusterID != s.deps.ClusterID() || req.NodeID != int32(s.deps.NodeID)):
		resp.ErrorCode = kafkaerr.RebootstrapRequired
	default:
		if r.Version() >= 3 {
			r.Conn.software.Store(&clientSoftware{name: req.ClientSoftwareName, version: req.ClientSoftwareVersion})
		}
		resp.APIKeys = append(resp.APIKeys, s.advertised...)
		s.addFeatures(resp, r.Version())
	}
	r.Reply(resp)
	return Done
}

func (s *Server) addFeatures(resp *wire.APIVersionsResponse, version int16) {
	if version < 3 {
		return
	}
	features := s.deps.Features()
	for _, f := range features.Supported {
		if version >= 4 || f.Min != 0 {
			resp.SupportedFeatures = append(resp.SupportedFeatures, wire.SupportedFeatureKey{
				Name: f.Name, MinVersion: f.Min, MaxVersion: f.Max,
			})
		}
	}
	resp.FinalizedFeaturesEpoch = features.Epoch
	for _, f := range features.Finalized {
		if f.Level != 0 {
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, wire.FinalizedFeatureKey{
				Name: f.Name, MinVersionLevel: f.Level, MaxVersionLevel: f.Level,
			})
		}
	}
}

// serves says whether the version is within the row's range. It always is but for ApiVersions.
func (a *api) serves(version int16) bool { return version >= a.Min && version <= a.Max }

// replyVersion returns the version that the reply is encoded in.
func (r *Request) replyVersion() int16 {
	if !r.api.serves(r.Header.Version) {
		return 0
	}
	return r.Header.Version
}

// validAPIVersions says whether the fields of a request may stand together.
func validAPIVersions(req *wire.APIVersionsRequest, version int16) bool {
	if version >= 5 && (req.ClusterID == nil) != (req.NodeID == -1) {
		return false
	}
	return version < 3 || validSoftware(req.ClientSoftwareName) && validSoftware(req.ClientSoftwareVersion)
}

// validSoftware says whether s is letters and digits with dots and hyphens between them.
func validSoftware(s string) bool {
	for i := range len(s) {
		switch b := s[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case (b == '-' || b == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}
