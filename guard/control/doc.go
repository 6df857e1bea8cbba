// Package control is the daemon's control socket: how an operator asks how things stand,
// and commands. It is HTTP and JSON on a Unix socket, one request a connection.
//
//	GET  /v1/status                                           a Status
//	POST /v1/approve   {"id": "raise-max-3f2a1"}              an Answer
//	POST /v1/rollback  {"changes": [3, 4]}, {"restrictions": true} or {"all": true};
//	                   with "force": true even where the table holds too much for it
//	POST /v1/reload    {}
//	POST /v1/pause     {"seconds": 1800}                      1 to 86,400
//	POST /v1/resume    {}
//
// A caller who closes the connection, or only its own half of it, before the answer has
// come asks for nothing any more: what has not begun by then is not done.
//
// Anything but 200 has the body {"error": {"code": …, "message": …, "lines": […]}}; the
// codes are those of Refusal. Within a version fields are only added.
//
// What holds:
//
//   - Who may command is decided by the credentials that the kernel keeps of the peer
//     (SO_PEERCRED, SO_PEERGROUPS), not by the socket's file mode: root, the daemon's own
//     user, and the members of one group. Others may read where the policy says so.
//   - The socket's file is held open, and never looked for by its name to be changed: what
//     comes to have that name is somebody else's. A socket that was removed is made anew
//     within lookEvery, or at the next reload, and who had connected is still answered.
//   - Nobody can load the loop: it is asked for its status five times a second at most, and
//     for the rest only by those who may command. Connections, header, body and each phase of
//     a request are bounded, and strangers leave half of the connections to the others.
//   - The server logs nothing of a request: those that it refuses are counted. What the
//     daemon is asked has been checked, and may stand in a log.
package control
