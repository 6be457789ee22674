package configdef

// Type is the type of a key's value, numbered as in a DescribeConfigs answer.
type Type int8

// The types. Unknown is what a client is told about a key that is not in any table.
const (
	Unknown  Type = 0
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// String returns the type's name in lower case, as documentation writes it.
func (t Type) String() string {
	switch t {
	case Boolean:
		return "boolean"
	case String:
		return "string"
	case Int:
		return "int"
	case Short:
		return "short"
	case Long:
		return "long"
	case Double:
		return "double"
	case List:
		return "list"
	case Class:
		return "class"
	case Password:
		return "password"
	default:
		return "unknown"
	}
}

// Scope is what a key configures.
type Scope int8

// The scopes. Broker keys stand in server.properties; the others are set on one named resource.
const (
	BrokerScope Scope = iota + 1
	TopicScope
	GroupScope
	ClientMetricsScope
)

// String returns the scope's name in lower case.
func (s Scope) String() string {
	switch s {
	case BrokerScope:
		return "broker"
	case TopicScope:
		return "topic"
	case GroupScope:
		return "group"
	case ClientMetricsScope:
		return "client-metrics"
	}
	return "unknown"
}

// Mutability says how far a broker key can be changed while the node runs (KIP-226). Topic, group and
// client metrics keys can always be changed and are ReadOnly here only in the sense that they are no
// broker keys.
type Mutability int8

// The update modes of a broker key.
const (
	ReadOnly    Mutability = iota // read once at start
	PerBroker                     // may be set for one broker
	ClusterWide                   // may be set for one broker, or for all as the cluster's default
)

// String returns Kafka's name of the update mode.
func (m Mutability) String() string {
	switch m {
	case PerBroker:
		return "per-broker"
	case ClusterWide:
		return "cluster-wide"
	default:
		return "read-only"
	}
}

// Unit converts the number of a synonym into that of the key it stands for.
type Unit int64

// The units synonyms are given in, as factors to the key's own unit.
const (
	Same    Unit = 1
	Minutes Unit = 60 * 1000           // minutes, for a key in milliseconds
	Hours   Unit = 60 * 60 * 1000      // hours, for a key in milliseconds
	_       Unit = 24 * 60 * 60 * 1000 // days: no key uses them
)

// Synonym is another key whose value a key takes while it has none of its own.
type Synonym struct {
	Name string
	Unit Unit
}

// Key is one row of the table. It is a value: a copy may be kept, nothing in it changes.
type Key struct {
	Name  string
	Scope Scope
	Type  Type

	// Default is the value in text form while nothing sets the key. It means something only where
	// HasDefault holds: otherwise the key has no value until it is set, and its synonyms are asked.
	Default    string
	HasDefault bool

	// Bound is what a value must satisfy beyond its type.
	Bound Bound

	// Mutability is the update mode here, KafkaMutability Kafka's; they differ where Reason says so.
	Mutability      Mutability
	KafkaMutability Mutability

	// Sensitive values never leave the node: DescribeConfigs answers null, messages hide them.
	Sensitive bool
	// Internal keys are Kafka's hidden ones: accepted, but left out of DescribeConfigs.
	Internal bool
	// DynamicOnly keys can be set by AlterConfigs and not in a file.
	DynamicOnly bool
	// Own marks a key that Kafka does not have.
	Own bool

	// Synonyms are the broker keys that give a topic or group key its value while it is not set
	// itself, or a broker key its value while it is not, first come first.
	Synonyms []Synonym

	Doc string

	// KafkaDefault is Kafka's default (in words where there is none) and Reason why Walser's differs.
	// Both are empty where it does not.
	KafkaDefault string
	Reason       string

	// NoEffect says why the key changes nothing here. Setting it away from its default is warned of
	// at start and refused by AlterConfigs.
	NoEffect string
	// FailClosed marks a NoEffect key that the node must not start with: to ignore it would leave
	// open what the operator asked to be closed.
	FailClosed bool
}

// IsDefault reports whether text means the key's default value, so that setting it changes nothing.
func (k Key) IsDefault(text string) bool {
	v, err := k.Parse(text)
	if err != nil {
		return false
	}
	if !k.HasDefault {
		return (k.Type == String || k.Type == Class || k.Type == List || k.Type == Password) && v.String() == ""
	}
	return v.String() == k.DefaultValue().String()
}

// DefaultValue returns the parsed default, or a null value where the key has none.
func (k Key) DefaultValue() Value {
	if !k.HasDefault {
		return Value{Type: k.Type, Null: true}
	}
	v, err := k.Parse(k.Default)
	if err != nil {
		// Held by a test over every row.
		return Value{Type: k.Type, Null: true}
	}
	return v
}
