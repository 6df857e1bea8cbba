package record

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A state comes back whole, whatever is in it: it is compared as the policy does.
func TestStatesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := drawn[policy.State](t)
		var got policy.State
		if err := parsePlain(appendPlain(nil, st, false), &got); err != nil {
			t.Fatal(err)
		}
		if got != *st {
			t.Fatal("another state")
		}
	})
}

// The policy promises a plain value. What is none would be copied by half, if at all.
func TestStateIsPlain(t *testing.T) {
	var check func(typ reflect.Type, path string)
	check = func(typ reflect.Type, path string) {
		switch {
		case textual[typ]:
		case typ.Kind() == reflect.Struct:
			for i := range typ.NumField() {
				check(typ.Field(i).Type, path+"."+typ.Field(i).Name)
			}
		case typ.Kind() == reflect.Array:
			check(typ.Elem(), path+"[]")
		case typ.Kind() > reflect.Float64 && typ.Kind() != reflect.String:
			t.Errorf("%s is a %s", path, typ)
		}
	}
	check(reflect.TypeFor[policy.State](), "State")
}

type earlier struct {
	A int
	B [2]float64
	C []string
}

type later struct {
	A int
	B [3]float64
	D *bool
}

// Text of another program is taken as far as it says something here.
func TestPlainOfAnotherProgram(t *testing.T) {
	text := appendPlain(nil, &earlier{A: 1, B: [2]float64{0, 2}, C: []string{"c"}}, true)
	got := later{B: [3]float64{7, 7, 7}}
	if err := parsePlain(text, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(later{A: 1, B: [3]float64{0, 2, 7}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if shapeOf(reflect.TypeFor[earlier]()) == shapeOf(reflect.TypeFor[later]()) {
		t.Error("two types of the same shape")
	}
}

func TestPlainRefused(t *testing.T) {
	for _, text := range []string{
		``, `{`, `{} {}`, `[]`, `"A"`, `{"A":"x"}`, `{"A":1.5}`, `{"A":[1]}`, `{"A":1e999}`, `{"B":[1,2,3,4]}`, `{"B":{}}`, `{"D":1}`, `{"D":"true"}`,
		strings.Repeat("[", 100_000),
	} {
		var v later
		if err := parsePlain([]byte(text), &v); err == nil {
			t.Errorf("%.40q: %+v", text, v)
		}
	}
}
