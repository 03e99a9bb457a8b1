package server

import (
	"reflect"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// codeFields has, by API, which field of an answer is the error code of the whole; APIs whose answers have none are not in it.
var codeFields = func() map[int16]int {
	fields := map[int16]int{}
	for _, a := range wire.Table() {
		m := kmsg.ResponseForKey(a.Key)
		if m == nil {
			continue
		}
		if f, ok := reflect.TypeOf(m).Elem().FieldByName("ErrorCode"); ok && f.Type.Kind() == reflect.Int16 {
			fields[a.Key] = f.Index[0]
		}
	}
	return fields
}()

// failure is the error code that an answer as a whole bears; what it says of its parts, those who make it tell the trace.
// REBALANCE_IN_PROGRESS is how members are told to join again, and UNSUPPORTED_VERSION of ApiVersions how versions are agreed
// on: no failures.
func failure(m kmsg.Response) int16 {
	if m == nil {
		return 0
	}
	i, ok := codeFields[m.Key()]
	if !ok || m.Key() == int16(kmsg.ApiVersions) {
		return 0
	}
	code := int16(reflect.ValueOf(m).Elem().Field(i).Int())
	if code == kerr.RebalanceInProgress.Code {
		return 0
	}
	return code
}
