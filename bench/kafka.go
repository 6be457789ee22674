package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const kafkaVersion = "4.3.1"

// jvmOptions are those of Kafka's own bin/kafka-server-start.sh: heap, collector, and an agent for JMX that
// listens nowhere. The collector's log comes with them, as there.
var jvmOptions = []string{
	"-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
	"-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15", "-Djava.awt.headless=true",
	"-Dcom.sun.management.jmxremote=true", "-Dcom.sun.management.jmxremote.authenticate=false",
	"-Dcom.sun.management.jmxremote.ssl=false",
}

// kafkaProperties is a combined node on one machine. What is not here has Kafka's default, the threads and
// socket buffers of its config/server.properties among them.
const kafkaProperties = `process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=%[3]s
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
%[4]s
`

// kafkaLogging logs at INFO, as Kafka's own configuration does.
const kafkaLogging = `rootLogger.level = INFO
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = [%d] %p %m (%c)%n
`

func prepareKafka(ctx context.Context, o *options, progress io.Writer) (*peer, error) {
	jars, err := findJars(ctx, o.jars, progress)
	if err != nil {
		return nil, err
	}
	java, version, err := findJava(ctx, o.java)
	if err != nil {
		return nil, err
	}
	classPath := filepath.Join(jars, "*")
	return &peer{
		name: peerKafka,
		describe: []string{
			"Apache Kafka " + kafkaVersion + ", KRaft, one combined node, formatted before the clock of start-up runs",
			"acknowledges from the page cache: Kafka does not fsync by default; " + deleteSoon,
			version + ", " + java,
			strings.Join(jvmOptions, " ") + " -Xlog:gc*",
		},
		prepare: func(ctx context.Context, at place) error {
			controller, err := freeAddr()
			if err != nil {
				return err
			}
			properties := filepath.Join(at.dir, "server.properties")
			text := fmt.Sprintf(kafkaProperties, at.addr, controller, filepath.Join(at.dir, "data"), deleteSoon)
			if err := errors.Join(os.WriteFile(properties, []byte(text), 0o600), os.WriteFile(kafkaLog(at), []byte(kafkaLogging), 0o600)); err != nil {
				return err
			}
			format := exec.CommandContext(ctx, java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classPath,
				"kafka.tools.StorageTool", "format", "--standalone", "-t", at.clusterID, "-c", properties)
			format.Env, format.SysProcAttr = environment("KAFKA_"), childAttr()
			if out, err := format.CombinedOutput(); err != nil {
				return fmt.Errorf("format Apache Kafka's directory: %w\n%s", err, out)
			}
			return nil
		},
		command: func(at place) *exec.Cmd {
			args := slices.Concat(jvmOptions, []string{
				"-Xlog:gc*:file=" + filepath.Join(at.dir, "gc.log") + ":time,tags:filecount=10,filesize=100M",
				"-Dlog4j2.configurationFile=" + kafkaLog(at), "-cp", classPath, "kafka.Kafka", filepath.Join(at.dir, "server.properties"),
			})
			cmd := exec.Command(java, args...)
			cmd.Env = environment("KAFKA_")
			return cmd
		},
	}, nil
}

func kafkaLog(at place) string { return filepath.Join(at.dir, "log4j2.properties") }

// findJars returns a directory with Apache Kafka's jars. Where none is given it is the cache that make e2e
// uses, which is filled by Maven on first use.
func findJars(ctx context.Context, dir string, progress io.Writer) (string, error) {
	main := "kafka_2.13-" + kafkaVersion + ".jar"
	if dir != "" {
		if _, err := os.Stat(filepath.Join(dir, main)); err != nil {
			return "", fmt.Errorf("-jars %s: there is no %s", dir, main)
		}
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for Apache Kafka's jars: %w; give -jars DIRECTORY", err)
	}
	dir = filepath.Join(cache, "walser-e2e", "jars")
	ready := filepath.Join(dir, ".ready") // the mark of .ci/e2e
	if _, err := os.Stat(ready); err == nil {
		return dir, nil
	}
	root, err := repository()
	if err != nil {
		return "", err
	}
	fmt.Fprintln(progress, "fetching Apache Kafka", kafkaVersion, "with Maven")
	maven := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", filepath.Join(root, "e2e", "clients", "pom.xml"),
		"dependency:copy-dependencies", "-DoutputDirectory="+dir)
	maven.SysProcAttr = childAttr()
	if out, err := maven.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch Apache Kafka's jars: %w\n%s\nwith Maven and a network, run:\n  %s\nor give -jars DIRECTORY, or -peer walser",
			err, out, strings.Join(maven.Args, " "))
	}
	return dir, os.WriteFile(ready, nil, 0o600)
}

// findJava returns the newest JVM there is, and its version, where none is given.
func findJava(ctx context.Context, given string) (java, version string, err error) {
	candidates := []string{given}
	if given == "" {
		candidates, _ = filepath.Glob("/usr/lib/jvm/*/bin/java") // the pattern is well-formed
		if home := os.Getenv("JAVA_HOME"); home != "" {
			candidates = append(candidates, filepath.Join(home, "bin", "java"))
		}
		if path, err := exec.LookPath("java"); err == nil {
			candidates = append(candidates, path)
		}
	}
	newest := 0
	for _, candidate := range candidates {
		out, err := exec.CommandContext(ctx, candidate, "-version").CombinedOutput()
		if err != nil {
			continue
		}
		text := strings.SplitSeq(string(out), "\n")
		for line := range text {
			if major := javaMajor(line); major > newest {
				newest, java, version = major, candidate, strings.TrimSpace(line)
			}
		}
	}
	if newest < 17 {
		return "", "", fmt.Errorf("Apache Kafka %s needs a JVM of 17 or later, and none is found: give -java, or -peer walser", kafkaVersion)
	}
	return java, version, nil
}

// javaMajor returns 25 of `openjdk version "25.0.3" 2026-04-21 LTS`, and 0 of another line.
func javaMajor(line string) int {
	_, rest, ok := strings.Cut(line, ` version "`)
	if !ok {
		return 0
	}
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return major
}
