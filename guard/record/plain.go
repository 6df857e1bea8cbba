package record

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Plain values are written as JSON by the names of their fields, the unexported ones,
// too, and whatever methods they have: so they come back exactly, and what a later
// program has no field for, or has more fields than, does no harm. What is zero is left
// out, and so are zeros at the end of an array, unless all is wanted.

// textual are the types that are written by their text.
var textual = map[reflect.Type]bool{
	reflect.TypeFor[netip.Addr](): true, reflect.TypeFor[netip.Prefix](): true, reflect.TypeFor[time.Time](): true,
}

// appendPlain appends what p points to. It panics where that is no plain value, which
// only a program can get wrong.
func appendPlain(b []byte, p any, all bool) []byte {
	return plainWriter{all}.value(b, reflect.ValueOf(p).Elem())
}

type plainWriter struct{ all bool }

func (w plainWriter) value(b []byte, v reflect.Value) []byte {
	if textual[v.Type()] {
		text, err := v.Interface().(interface{ MarshalText() ([]byte, error) }).MarshalText()
		if err != nil { // a year that RFC 3339 does not have
			return append(b, '0')
		}
		return quoted(b, string(text))
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		return float(b, v.Float(), v.Type().Bits())
	case reflect.String:
		return quoted(b, v.String())
	case reflect.Struct:
		return w.fields(b, v)
	case reflect.Array:
		return w.list(b, v, w.used(v))
	case reflect.Slice:
		if v.IsNil() {
			return append(b, "null"...)
		}
		return w.list(b, v, v.Len())
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, "null"...)
		}
		return w.value(b, v.Elem())
	}
	panic("record: no plain value: " + v.Type().String())
}

func (w plainWriter) fields(b []byte, v reflect.Value) []byte {
	b = append(b, '{')
	first := true
	for i := range v.NumField() {
		f := opened(v.Field(i))
		if !w.all && f.IsZero() {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(quoted(b, v.Type().Field(i).Name), ':')
		b = w.value(b, f)
	}
	return append(b, '}')
}

// used is how many elements of an array are written.
func (w plainWriter) used(v reflect.Value) int {
	n := v.Len()
	for !w.all && n > 0 && v.Index(n-1).IsZero() {
		n--
	}
	return n
}

func (w plainWriter) list(b []byte, v reflect.Value, n int) []byte {
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = w.value(b, v.Index(i))
	}
	return append(b, ']')
}

// float writes a number so that it comes back to the bit; JSON has no infinity.
func float(b []byte, f float64, bits int) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return quoted(b, strconv.FormatFloat(f, 'g', -1, bits))
	}
	return strconv.AppendFloat(b, f, 'g', -1, bits)
}

// quoted writes text; JSON has none that is not UTF-8, and it is written as a list of its
// base64.
func quoted(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		return append(quoted(append(b, '['), base64.StdEncoding.EncodeToString([]byte(s))), ']')
	}
	text, _ := json.Marshal(s) // fails for no string
	return append(b, text...)
}

// opened is a field that can be read and set although it is unexported. This is the one
// place that knows unsafe: a State is copied whole, and only its own package could do it
// otherwise.
func opened(f reflect.Value) reflect.Value {
	if f.CanSet() || !f.CanAddr() {
		return f
	}
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

// shapeOf tells types of other fields apart: what was written of one can't be taken up
// by another as if nothing had changed.
func shapeOf(t reflect.Type) string {
	var b strings.Builder
	describe(&b, t)
	h := fnv.New64a()
	io.WriteString(h, b.String()) // a hash takes all
	return fmt.Sprintf("%016x", h.Sum64())
}

func describe(b *strings.Builder, t reflect.Type) {
	b.WriteString(t.Kind().String())
	switch {
	case textual[t]:
		b.WriteString(t.String())
	case t.Kind() == reflect.Array:
		fmt.Fprintf(b, "[%d]", t.Len())
		describe(b, t.Elem())
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer:
		describe(b, t.Elem())
	case t.Kind() == reflect.Struct:
		b.WriteByte('{')
		for i := range t.NumField() {
			b.WriteString(t.Field(i).Name + " ")
			describe(b, t.Field(i).Type)
			b.WriteByte(';')
		}
		b.WriteByte('}')
	}
}
