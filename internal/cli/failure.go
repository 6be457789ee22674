package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The exit codes of the program.
const (
	ExitOK          = 0
	ExitError       = 1 // anything else
	ExitUsage       = 2 // the command line is wrong, nothing was tried
	ExitNotFound    = 3 // the topic, group or file does not exist
	ExitConflict    = 4 // it exists already, is in use, or is in the way
	ExitDenied      = 5 // the cluster knows who asks and says no
	ExitUnreachable = 6 // no broker answers, or not in time
	ExitCheck       = 7 // what was checked is not sound
	ExitPartial     = 8 // some of several things were done, others failed
	exitInterrupted = 130
)

// Failure is an error with what the user needs to get rid of it.
type Failure struct {
	Code    int
	Cause   error
	Setting string // the flag, variable or key that decides; "" if none does
	Fix     string // what to do; "" if that is plain from the cause
}

func (f *Failure) Error() string { return f.Cause.Error() }
func (f *Failure) Unwrap() error { return f.Cause }

// print writes the failure as the user sees it.
func (f *Failure) print(w io.Writer) {
	fmt.Fprintf(w, "error: %s\n", strings.ReplaceAll(f.Cause.Error(), "\n", "\n  "))
	if f.Setting != "" {
		fmt.Fprintf(w, "  setting: %s\n", f.Setting)
	}
	if f.Fix != "" {
		fmt.Fprintf(w, "  fix: %s\n", f.Fix)
	}
}

// usage returns the failure of a wrong command line.
func usage(format string, args ...any) *Failure {
	return &Failure{Code: ExitUsage, Cause: fmt.Errorf(format, args...)}
}

// notFound returns the failure of something that does not exist.
func notFound(format string, args ...any) *Failure {
	return &Failure{Code: ExitNotFound, Cause: fmt.Errorf(format, args...)}
}

// explain turns any error of a command into a Failure.
func (a *app) explain(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if shards, ok := errors.AsType[*kadm.ShardErrors](err); ok && len(shards.Errs) > 0 {
		f := a.explain(shards.Errs[0].Err)
		if !shards.AllFailed {
			f.Code = ExitPartial
		}
		return f
	}
	if code, ok := errors.AsType[*kerr.Error](err); ok {
		return explainCode(err, code)
	}
	dial, isDial := errors.AsType[*net.OpError](err)
	timedOut := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrRecordTimeout)
	switch {
	case errors.Is(err, context.Canceled):
		return &Failure{Code: exitInterrupted, Cause: errors.New("interrupted")}
	case isDial && dial.Op == "dial", timedOut, errors.Is(err, io.EOF), isDial:
		return &Failure{
			Code: ExitUnreachable, Cause: fmt.Errorf("no answer from the cluster: %w", err),
			Setting: "--bootstrap-server (-b), --timeout",
			Fix:     "see that the node at that address runs and is a Kafka listener without TLS or SASL",
		}
	}
	return &Failure{Code: ExitError, Cause: err}
}

// explainCode maps an error code of the protocol.
func explainCode(err error, code *kerr.Error) *Failure {
	f := &Failure{Code: ExitError, Cause: err}
	switch {
	case errors.Is(code, kerr.UnknownTopicOrPartition):
		f.Code, f.Fix = ExitNotFound, "`walser topic list` shows the topics there are; `walser topic create` makes one"
	case errors.Is(code, kerr.UnknownTopicID), errors.Is(code, kerr.UnknownMemberID), errors.Is(code, kerr.ResourceNotFound):
		f.Code = ExitNotFound
	case errors.Is(code, kerr.GroupIDNotFound):
		f.Code, f.Fix = ExitNotFound, "`walser group list` shows the groups there are"
	case errors.Is(code, kerr.TopicAlreadyExists):
		f.Code, f.Fix = ExitConflict, "--if-not-exists takes that for success; `walser topic describe` shows what is there"
	case errors.Is(code, kerr.NonEmptyGroup), errors.Is(code, kerr.GroupSubscribedToTopic):
		f.Code, f.Fix = ExitConflict, "stop the group's consumers first; `walser group describe` names them"
	case errors.Is(code, kerr.DuplicateResource), errors.Is(code, kerr.ReassignmentInProgress):
		f.Code = ExitConflict
	case errors.Is(code, kerr.TopicAuthorizationFailed), errors.Is(code, kerr.GroupAuthorizationFailed),
		errors.Is(code, kerr.ClusterAuthorizationFailed), errors.Is(code, kerr.TransactionalIDAuthorizationFailed),
		errors.Is(code, kerr.SaslAuthenticationFailed):
		f.Code = ExitDenied
	case errors.Is(code, kerr.RequestTimedOut), errors.Is(code, kerr.CoordinatorNotAvailable), errors.Is(code, kerr.LeaderNotAvailable):
		f.Code, f.Setting = ExitUnreachable, "--timeout"
	case errors.Is(code, kerr.NotEnoughReplicas), errors.Is(code, kerr.NotEnoughReplicasAfterAppend):
		f.Setting, f.Fix = "min.insync.replicas of the topic", "bring replicas back, or lower it: `walser topic alter TOPIC --set min.insync.replicas=1`"
	case errors.Is(code, kerr.InvalidReplicationFactor):
		f.Setting, f.Fix = "--replication-factor (-r)", "ask for no more replicas than there are brokers: `walser cluster info`"
	case errors.Is(code, kerr.MessageTooLarge):
		f.Setting = "max.message.bytes of the topic, max.request.size of the client"
		f.Fix = "raise both, or write smaller records"
	case errors.Is(code, kerr.InvalidConfig):
		f.Setting, f.Fix = "--config, --set", "`walser topic describe TOPIC --configs` shows keys and values"
	}
	return f
}

// outcomes counts how several things went, for the exit code of a command that did them one by one.
type outcomes struct {
	done   int
	failed []error
}

// add counts one; err is nil where it went well.
func (o *outcomes) add(what string, err error) {
	if err == nil {
		o.done++
		return
	}
	o.failed = append(o.failed, fmt.Errorf("%s: %w", what, err))
}

// err is nil if nothing failed, the failure if nothing succeeded, and else a partial failure.
func (o *outcomes) err(a *app) error {
	if len(o.failed) == 0 {
		return nil
	}
	first := a.explain(o.failed[0])
	f := &Failure{Code: first.Code, Cause: errors.Join(o.failed...), Setting: first.Setting, Fix: first.Fix}
	for _, err := range o.failed[1:] {
		if a.explain(err).Code != f.Code {
			f.Code = ExitError
		}
	}
	if o.done > 0 {
		f.Code = ExitPartial
	}
	return f
}
