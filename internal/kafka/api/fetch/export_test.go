package fetch

// NextEpoch is what a session counts its requests by.
var NextEpoch = nextEpoch
