package record

import (
	"math"
	"net/netip"
	"reflect"
	"time"

	"pgregory.net/rapid"
)

// draw fills in a value at random, its unexported fields, too: so a field that is added
// is drawn without further ado.
func draw(t *rapid.T, v reflect.Value) {
	switch v.Type() {
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(drawAddr(t)))
		return
	case reflect.TypeFor[netip.Prefix]():
		if a := drawAddr(t); a.IsValid() {
			v.Set(reflect.ValueOf(netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))))
		}
		return
	case reflect.TypeFor[time.Time]():
		if rapid.Bool().Draw(t, "time") {
			v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, opened(v.Field(i)))
		}
	case reflect.Array:
		if v.Len() < 32 || rapid.Bool().Draw(t, "filled") {
			for i := range min(v.Len(), 8) { // as many as tell the order, and not slow
				draw(t, v.Index(rapid.IntRange(0, v.Len()-1).Draw(t, "index")))
				_ = i
			}
		}
	case reflect.Slice:
		switch n := rapid.IntRange(-1, 4).Draw(t, "length"); {
		case n < 0:
			v.SetZero()
		default:
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				draw(t, v.Index(i))
			}
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "pointer") {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem())
		}
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.String:
		v.SetString(rapid.SampledFrom([]string{"", "", "a", "\"<\\\n\u2192", "caf\xe9 \x00", rapid.String().Draw(t, "string")}).Draw(t, "text"))
	case reflect.Float32, reflect.Float64:
		f := rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 0.1, math.Inf(1), math.SmallestNonzeroFloat32, rapid.Float64().Draw(t, "float")}).Draw(t, "float")
		v.SetFloat(f)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint") >> (64 - v.Type().Bits()))
	default:
		n := rapid.SampledFrom([]int64{0, 0, 1, -1, math.MaxInt64, math.MinInt64, rapid.Int64().Draw(t, "int")}).Draw(t, "int")
		v.SetInt(n >> (64 - v.Type().Bits()))
	}
}

func drawn[T any](t *rapid.T) *T {
	p := new(T)
	draw(t, reflect.ValueOf(p).Elem())
	return p
}

func drawAddr(t *rapid.T) netip.Addr {
	return rapid.SampledFrom([]netip.Addr{
		{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.0.0.255"), netip.IPv6Unspecified(),
	}).Draw(t, "address")
}
