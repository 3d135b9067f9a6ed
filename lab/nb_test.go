package lab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeRoutes(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		want         map[gatewayRow]bool
		fails        string
	}{
		{name: "with and without length, subnets left out", answer: `{"id":0,"error":null,"result":[{"rows":[
			{"ip_prefix":"10.131.1.100","nexthop":"10.144.100.16"},
			{"ip_prefix":"fd01:0:0:1::100/128","nexthop":"fd00:10:144:100::16"},
			{"ip_prefix":"10.131.0.0/23","nexthop":"100.64.0.2"}]}]}`,
			want: map[gatewayRow]bool{{"10.131.1.100", "10.144.100.16"}: true, {"fd01:0:0:1::100", "fd00:10:144:100::16"}: true}},
		{name: "none", answer: `{"id":0,"error":null,"result":[{"rows":[]}]}`, want: map[gatewayRow]bool{}},
		{name: "operation refused", answer: `{"id":0,"error":null,"result":[{"error":"unknown column","details":"no nexthop"}]}`, fails: "unknown column: no nexthop"},
		{name: "request refused", answer: `{"id":0,"error":"unknown database","result":null}`, fails: "unknown database"},
		{name: "cut off", answer: `{"id":0,`, fails: "decode answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decodeRoutes(strings.NewReader(tc.answer))
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("error %v, want %q", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
