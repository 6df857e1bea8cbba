package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
)

// mostPlain is how much memory the lists in a plain value may take: of a few bytes of text
// each element can become hundreds. The most changes that a snapshot may have take three
// quarters of it.
const mostPlain = 8 << 20

// parsePlain reads what appendPlain has written into what p points to. Fields that the
// text does not have stay as they are.
func parsePlain(text []byte, p any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	r := plainReader{dec, mostPlain}
	if err := r.value(reflect.ValueOf(p).Elem()); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// A plainReader takes the text token by token, so that nothing is made of what is not
// wanted.
type plainReader struct {
	dec  *json.Decoder
	room int // bytes that lists may still take
}

func (r *plainReader) value(v reflect.Value) error {
	x, err := r.dec.Token()
	if err != nil {
		return err
	}
	return r.set(v, x)
}

// take counts what is allocated.
func (r *plainReader) take(t reflect.Type) error {
	if r.room -= int(t.Size()); r.room < 0 {
		return fmt.Errorf("lists that take more than %d bytes", mostPlain)
	}
	return nil
}

// set reads the value that begins with a token.
func (r *plainReader) set(v reflect.Value, x json.Token) error {
	if x == nil {
		v.SetZero()
		return nil
	}
	if textual[v.Type()] {
		return setText(v, x)
	}
	switch v.Kind() {
	case reflect.Struct:
		return r.fields(v, x)
	case reflect.Array, reflect.Slice:
		return r.list(v, x)
	case reflect.Pointer:
		if err := r.take(v.Type().Elem()); err != nil {
			return err
		}
		v.Set(reflect.New(v.Type().Elem()))
		return r.set(v.Elem(), x)
	case reflect.Bool:
		y, ok := x.(bool)
		v.SetBool(y)
		return wrong(ok, v, x)
	case reflect.String:
		return r.text(v, x)
	}
	return setNumber(v, x)
}

func wrong(ok bool, v reflect.Value, x json.Token) error {
	if ok {
		return nil
	}
	return fmt.Errorf("a %T where a %s is wanted", x, v.Type())
}

func setText(v reflect.Value, x json.Token) error {
	y, ok := x.(string)
	if !ok {
		return wrong(x == json.Number("0"), v, x)
	}
	return v.Addr().Interface().(interface{ UnmarshalText([]byte) error }).UnmarshalText([]byte(y))
}

// text reads a string, or the list that stands for one that is not UTF-8.
func (r *plainReader) text(v reflect.Value, x json.Token) error {
	if y, ok := x.(string); ok || x != json.Delim('[') {
		v.SetString(y)
		return wrong(ok, v, x)
	}
	var list [1]string
	if err := r.list(reflect.ValueOf(&list).Elem(), x); err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(list[0])
	v.SetString(string(b))
	return err
}

func (r *plainReader) fields(v reflect.Value, x json.Token) error {
	if x != json.Delim('{') {
		return wrong(false, v, x)
	}
	for r.dec.More() {
		key, err := r.dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string) // the decoder sees to that
		if f, there := v.Type().FieldByName(name); there && len(f.Index) == 1 {
			err = r.value(opened(v.FieldByIndex(f.Index)))
		} else {
			err = r.skip()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err := r.dec.Token()
	return err
}

// skip reads a value that nobody wants.
func (r *plainReader) skip() error {
	for depth := 0; ; {
		x, err := r.dec.Token()
		if err != nil {
			return err
		}
		switch x {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func (r *plainReader) list(v reflect.Value, x json.Token) error {
	if x != json.Delim('[') {
		return wrong(false, v, x)
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	for i := 0; r.dec.More(); i++ {
		if err := r.grow(v, i); err != nil {
			return err
		}
		if err := r.value(v.Index(i)); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	_, err := r.dec.Token()
	return err
}

// grow makes room for an element.
func (r *plainReader) grow(v reflect.Value, i int) error {
	if v.Kind() == reflect.Array {
		if i >= v.Len() {
			return fmt.Errorf("more than %d elements", v.Len())
		}
		return nil
	}
	if err := r.take(v.Type().Elem()); err != nil {
		return err
	}
	v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	return nil
}

func setNumber(v reflect.Value, x json.Token) error {
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
