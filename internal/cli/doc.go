// Package cli is the command line, walser: the commands that people and scripts type, over the same
// client protocol as everyone else's tools.
//
// Guarantees:
//   - What was asked for goes to standard output and nothing else does: notes, prompts and errors go to
//     standard error. So every command can be piped.
//   - Every noun has one schema, whatever the command and whatever the notation (-o json, jsonl, yaml).
//   - The exit code says what kind of failure it was (see the Exit constants), and the message says the
//     cause, the setting that decides, and what to do.
//   - Nothing is destroyed without a yes: prompts default to no, and where nobody can answer they are
//     refused.
//
// What it must never do: read the world by other ways than its Deps (so that every command runs in a
// test), or know how a node is built: the node comes in as a function.
//
// A file holds one noun. cli.go ties them together, settings.go makes a client out of flags and files,
// output.go prints, failure.go explains errors.
package cli
