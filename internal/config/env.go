package config

import (
	"slices"
	"strings"

	"github.com/walser-io/walser/internal/configdef"
)

// The prefixes of environment variables that set keys. Where both set one, Walser's holds.
const (
	kafkaPrefix  = "KAFKA_"
	walserPrefix = "WALSER_"
)

// notKeys are variables with these prefixes that are no settings of a node: those of the apache/kafka
// image and of Kafka's scripts, those of Walser's command line, and that of its program.
var notKeys = []string{
	"KAFKA_VERSION", "KAFKA_HOME", "KAFKA_DEBUG", "KAFKA_MODE", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_OPTS",
	"KAFKA_JMX_OPTS", "KAFKA_JMX_PORT", "KAFKA_JMX_HOSTNAME", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_GC_LOG_OPTS",
	"KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_LOG4J_LOGGERS", "KAFKA_TOOLS_LOG4J_LOGLEVEL",
	"WALSER_BOOTSTRAP_SERVER", "WALSER_COMMAND_CONFIG", "WALSER_CONTEXT", "WALSER_CONFIG", "WALSER_OUTPUT",
	"WALSER_CPU_PROFILE",
}

// readEnv reads keys from an environment as os.Environ returns it, by the rules of the apache/kafka image:
// KAFKA_LOG_DIRS is log.dirs, __ stands for _ and ___ for -. CLUSTER_ID, which that image formats a data
// directory with, is cluster.id where a KAFKA_ variable sets a key too (the name alone says little).
//
// KAFKA_ variables that neither are a key, nor were one, nor resemble one are left alone without a word:
// scripts and orchestrators put all kinds of them there (a Kubernetes service called kafka yields
// KAFKA_SERVICE_HOST and a dozen more). Every WALSER_ variable is meant for us.
func readEnv(env []string) []setting {
	var kafka, walser []setting
	var clusterID *setting
	for _, entry := range env {
		variable, value, ok := strings.Cut(entry, "=")
		if !ok || slices.Contains(notKeys, variable) {
			continue
		}
		source := Source{Origin: FromEnvironment, Name: variable}
		switch {
		case variable == "CLUSTER_ID":
			clusterID = &setting{"cluster.id", value, source}
		case strings.HasPrefix(variable, kafkaPrefix):
			name := envKey(variable[len(kafkaPrefix):])
			if meantAsKey(name) {
				kafka = append(kafka, setting{name, value, source})
			}
		case strings.HasPrefix(variable, walserPrefix):
			walser = append(walser, setting{envKey(variable[len(walserPrefix):]), value, source})
		}
	}
	if clusterID != nil && len(kafka) > 0 {
		kafka = append(kafka, *clusterID)
	}
	// An environment has no order of its own.
	byName := func(a, b setting) int { return strings.Compare(a.source.Name, b.source.Name) }
	slices.SortStableFunc(kafka, byName)
	slices.SortStableFunc(walser, byName)
	return append(kafka, walser...)
}

func meantAsKey(name string) bool {
	_, known := configdef.Broker().Lookup(name)
	_, old := retired[name]
	return known || old || isPlugin(name) || configdef.Broker().Nearest(name) != ""
}

var envReplacer = strings.NewReplacer("___", "-", "__", "_", "_", ".")

func envKey(rest string) string { return envReplacer.Replace(strings.ToLower(rest)) }
