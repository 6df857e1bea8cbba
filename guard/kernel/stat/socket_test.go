package stat

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestDecode(t *testing.T) {
	body := []byte{
		unix.AF_UNSPEC, 0, 0, 1, // struct nfgenmsg, CPU 1
		0, 8, 0, 10, 0, 0, 1, 2, // a length of 2,048
		8, 0, 10, 0, 0, 0, 1, 2, // drop
		8, 0, 99, 0, 0, 0, 0, 1, // an attribute from the future
	}
	var s socket
	var got row
	if err := s.decode(body[:4], &got); err != nil || got != (row{}) {
		t.Errorf("no attributes: %v, %v", got, err)
	}
	if err := s.decode(append(body[:4:4], body[12:]...), &got); err != nil || got != (row{Drop: 0x102}) {
		t.Errorf("%v, %v, want 258 drops", got, err)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "short head": body[:3], "a length beyond the end": body[:12],
		"two bytes wide": {0, 0, 0, 0, 6, 0, 10, 0, 1, 2, 0, 0},
	} {
		if err := s.decode(bad, &got); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 8, 0, 10, 0, 0, 0, 1, 2})
	f.Add([]byte{0, 0, 0, 1, 6, 0, 10, 0, 1, 2, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		var s socket
		var got row
		if err := s.decode(body, &got); err != nil {
			return
		}
		for column, value := range got {
			if value != 0 && !s.found[column] {
				t.Errorf("%s counts %d but is listed as missing", Column(column), value)
			}
		}
	})
}
