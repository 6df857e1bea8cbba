// Package ctnetlink reads the connection-tracking table as ctnetlink dumps it:
// one receive buffer, attributes parsed in place, one Entry that is filled again
// and again.
package ctnetlink
