// Package produce serves Produce and InitProducerId: how records come in.
//
// The handlers check what can be told from the request alone and hand the rest to their owners: package
// replica validates, appends and waits, the controller gives out producer ids.
package produce
