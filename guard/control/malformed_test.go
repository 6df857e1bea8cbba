package control

import (
	"fmt"
	"strings"
	"testing"
)

// What is wrong with a request decides the answer's status, and the daemon hears of none.
func TestMalformedRequests(t *testing.T) {
	d := &desk{}
	s, logged := serving(t, d, everybody(t))
	post := func(verb, body string) string {
		return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", verb, len(body), body)
	}
	for _, tc := range []struct{ text, status, says string }{
		{"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", "431", ""},
		{"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 3<<10) + "\r\n\r\n", "200", `"version":1`},
		{"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400", ""},
		{"GET /v1/status HTTP/1.1\r\n\r\n", "400", ""}, // without a host
		{"POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "400", "takes GET"},
		{"GET /v1/approve HTTP/1.1\r\nHost: x\r\n\r\n", "400", "takes POST"},
		{"GET /v2/status HTTP/1.1\r\nHost: x\r\n\r\n", "404", "nothing at"},
		{"GET /v1/ HTTP/1.1\r\nHost: x\r\n\r\n", "404", "nothing at"},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "404", "nothing at"},
		{post("explode", "{}"), "404", "nothing at"},
		{post("approve", strings.Repeat(" ", 4<<10)+`{"id":"a"}`), "400", "more than 4096 bytes"},
		{post("approve", `{"id":"a"}{"id":"b"}`), "400", "more than one value"},
		{post("approve", `{"id":"a","force":true}`), "400", `approve takes: \"force\" is no field of it"`},
		{post("approve", `{"id":"a b"}`), "400", "id is that of"},
		{post("approve", `{"id":"`+strings.Repeat("a", 65)+`"}`), "400", "id is that of"},
		{post("approve", ``), "400", "id is that of"},
		{post("approve", `{"id`), "400", "it is not JSON"},
		{post("rollback", `{}`), "400", "one of the three"},
		{post("rollback", `{"all":true,"changes":[1]}`), "400", "one of the three"},
		{post("rollback", `{"changes":[0]}`), "400", "ids from 1"},
		{post("rollback", `{"changes":[2,2]}`), "400", "none of them twice"},
		{post("rollback", `{"changes":[1e99]}`), "400", `\"changes\" can't be of the type number"`},
		{post("pause", `{"seconds":0}`), "400", "1 to 86400"},
		{post("pause", `{"seconds":86401}`), "400", "1 to 86400"},
		{post("reload", `[]`), "400", `not what reload takes: it is no object"`},
		{post("rollback", `{"changes":"1"}`), "400", `\"changes\" can't be of the type string"`},
		{post("approve", `{id:1}`), "400", "it is not JSON"},
		{post("approve", `{"`+strings.Repeat("x", 999)+`":1}`), "400", `xxx\"… is no field of it`},
		{"POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400", "could not be read"},
	} {
		answer := converse(t, s.path, tc.text)
		if !strings.HasPrefix(answer, "HTTP/1.1 "+tc.status+" ") || !strings.Contains(answer, tc.says) || !strings.Contains(answer, "Connection: close") {
			t.Errorf("%.60q: %q, want %s, %s", tc.text, answer, tc.status, tc.says)
		}
	}
	if len(d.done) > 0 {
		t.Errorf("the daemon was asked for %v", d.done)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %s", logged)
	}
}
