package wire

import (
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill gives every field of a message a random value, so that an encoding has every length, array and tag that there is.
func fill(r *rand.Rand, m any) { fillValue(r, reflect.ValueOf(m).Elem(), true) }

func fillValue(r *rand.Rand, v reflect.Value, top bool) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(int8(r.Uint32())))
	case reflect.Uint16, reflect.Uint32, reflect.Uint8:
		v.SetUint(uint64(uint8(r.Uint32())))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	case reflect.String:
		v.SetString(string(make([]byte, r.IntN(200))))
	case reflect.Array:
		for i := range v.Len() {
			fillValue(r, v.Index(i), false)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(make([]byte, r.IntN(200)))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fillValue(r, v.Index(i), false)
		}
	case reflect.Pointer:
		if r.IntN(3) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(r, v.Elem(), false)
	case reflect.Struct:
		fillStruct(r, v, top)
	}
}

func fillStruct(r *rand.Rand, v reflect.Value, top bool) {
	if t, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		for range r.IntN(3) {
			t.Set(1000+r.Uint32N(1000), make([]byte, r.IntN(20)))
		}
		return
	}
	for i := range v.NumField() {
		if top && v.Type().Field(i).Name == "Version" {
			continue
		}
		fillValue(r, v.Field(i), false)
	}
}
