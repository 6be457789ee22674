package differential

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "record the answers: of Apache Kafka under E2E_PEER=1, else of Walser where a case differs")

// TestDifferential plays every script to Walser and compares with what Apache Kafka answered; under
// E2E_PEER=1 to Apache Kafka, to see that it still does.
func TestDifferential(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	reasons := readReasons(t)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			s, err := readScript(path)
			if err != nil {
				t.Fatal(err)
			}
			peer := os.Getenv("E2E_PEER") != ""
			start := startWalser
			if peer {
				start = startKafka
			}
			play(t, s, start(t), peer, reasons)
			if *rewrite {
				if err := s.write(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func play(t *testing.T, s *script, addr string, peer bool, reasons map[string]string) {
	session := newSession(addr)
	defer session.close()
	var asked, equal int
	for _, c := range s.cases {
		if c.differs != "" && reasons[c.differs] == "" {
			t.Errorf("%s:%d: differences.txt does not tell why %q", s.path, c.line, c.differs)
		}
		for _, version := range c.versions {
			got, err := session.run(c, version)
			if err != nil {
				t.Errorf("%s:%d: %s, version %d: %v", s.path, c.line, c.name, version, err)
				continue
			}
			asked++
			want := c.kafka
			if !peer && c.differs != "" {
				want = c.walser
			}
			if *rewrite && (peer && !agree(got, want[version]) || c.differs != "") {
				want[version] = got
			}
			if !agree(got, want[version]) {
				t.Errorf("%s:%d: %s, version %d:\n got %s\nwant %s", s.path, c.line, c.name, version, got, want[version])
			}
			if agree(got, c.kafka[version]) {
				equal++
			}
		}
		if !peer && c.differs != "" && maps.Equal(c.walser, c.kafka) && !t.Failed() {
			t.Errorf("%s:%d: %s differs no more", s.path, c.line, c.name)
		}
	}
	t.Logf("%d cases, %d requests, %d answers equal to Apache Kafka's", len(s.cases), asked, equal)
}

const explained = ", ErrorMessage: <>"

// agree lets Walser explain an error where Apache Kafka has no message. Otherwise answers are equal.
func agree(got, want string) bool {
	if got == want {
		return true
	}
	plain := func(s string) string {
		s = strings.Join(strings.Fields(s), " ")
		for _, bracket := range []string{"{", "[", "}", "]"} {
			s = strings.ReplaceAll(s, bracket+" ", bracket)
			s = strings.ReplaceAll(s, ", "+bracket, bracket)
			s = strings.ReplaceAll(s, " "+bracket, bracket)
			s = strings.ReplaceAll(s, ","+bracket, bracket)
		}
		return s
	}
	got, want = plain(got), plain(want)
	return strings.Count(got, explained) >= strings.Count(want, explained) &&
		strings.ReplaceAll(got, explained, "") == strings.ReplaceAll(want, explained, "")
}

// readReasons reads differences.txt: paragraphs "name: reason".
func readReasons(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for paragraph := range strings.SplitSeq(string(text), "\n\n") {
		if strings.HasPrefix(paragraph, "#") {
			continue
		}
		name, reason, ok := strings.Cut(strings.TrimSpace(paragraph), ": ")
		if !ok || reasons[name] != "" {
			t.Errorf("differences.txt: %q is not one name and its reason", paragraph)
		}
		reasons[name] = reason
	}
	return reasons
}

// TestDifferences_Used keeps differences.txt from naming what no case shows.
func TestDifferences_Used(t *testing.T) {
	reasons := readReasons(t)
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		s, err := readScript(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range s.cases {
			delete(reasons, c.differs)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		t.Errorf("no case shows %q", name)
	}
}
