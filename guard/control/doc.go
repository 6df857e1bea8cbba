// Package control is the daemon's control socket: an operator's way to ask and to command.
package control
