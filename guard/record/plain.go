package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
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

func quoted(b []byte, s string) []byte {
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

// parsePlain reads what appendPlain has written into what p points to. Fields that the
// text does not have stay as they are.
func parsePlain(text []byte, p any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var x any
	if err := dec.Decode(&x); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return set(reflect.ValueOf(p).Elem(), x)
}

func set(v reflect.Value, x any) error {
	if x == nil {
		v.SetZero()
		return nil
	}
	if textual[v.Type()] {
		return setText(v, x)
	}
	switch v.Kind() {
	case reflect.Struct:
		return setFields(v, x)
	case reflect.Array, reflect.Slice:
		return setList(v, x)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return set(v.Elem(), x)
	case reflect.Bool:
		y, ok := x.(bool)
		v.SetBool(y)
		return wrong(ok, v, x)
	case reflect.String:
		y, ok := x.(string)
		v.SetString(y)
		return wrong(ok, v, x)
	}
	return setNumber(v, x)
}

func wrong(ok bool, v reflect.Value, x any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("a %T where a %s is wanted", x, v.Type())
}

func setText(v reflect.Value, x any) error {
	y, ok := x.(string)
	if !ok {
		return wrong(x == json.Number("0"), v, x)
	}
	return v.Addr().Interface().(interface{ UnmarshalText([]byte) error }).UnmarshalText([]byte(y))
}

func setFields(v reflect.Value, x any) error {
	fields, ok := x.(map[string]any)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		y, there := fields[name]
		if !there {
			continue
		}
		if err := set(opened(v.Field(i)), y); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return wrong(ok, v, x)
}

func setList(v reflect.Value, x any) error {
	list, ok := x.([]any)
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	}
	for i, y := range list {
		if i >= v.Len() {
			return fmt.Errorf("%d elements where %d are wanted", len(list), v.Len())
		}
		if err := set(v.Index(i), y); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	return wrong(ok, v, x)
}

func setNumber(v reflect.Value, x any) error {
	var text string
	switch y := x.(type) {
	case json.Number:
		text = y.String()
	case string:
		text = y // no finite float
	default:
		return wrong(false, v, x)
	}
	bits := v.Type().Bits()
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, bits)
		v.SetInt(n)
		return err
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, bits)
		v.SetUint(n)
		return err
	case v.CanFloat():
		f, err := strconv.ParseFloat(text, bits)
		v.SetFloat(f)
		return err
	}
	return wrong(false, v, x)
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
