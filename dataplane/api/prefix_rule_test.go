package api

import (
	"net/netip"
	"testing"
)

func TestPrefixRule(t *testing.T) {
	tests := []struct {
		rule, prefix string
		want         bool
		bad          bool
	}{
		{rule: "192.0.2.0/24", prefix: "192.0.2.10/32"},
		{rule: "192.0.2.10/32", prefix: "192.0.2.10/32", want: true},
		{rule: "192.0.2.0/24 le 32", prefix: "192.0.2.10/32", want: true},
		{rule: "192.0.2.0/24 ge 25", prefix: "192.0.2.10/32", want: true},
		{rule: "192.0.2.0/24 ge 25 le 31", prefix: "192.0.2.10/32"},
		{rule: "192.0.2.0/24 le 32", prefix: "192.0.3.10/32"},
		{rule: "any", prefix: "2001:db8::1/128", want: true},
		{rule: "0.0.0.0/0 le 32", prefix: "2001:db8::1/128"},
		{rule: "2001:db8::/32 le 128", prefix: "2001:db8::1/128", want: true},
		{rule: "192.0.2.0/24 le", prefix: "192.0.2.10/32", bad: true},
		{rule: "192.0.2.0/24 le 33", prefix: "192.0.2.10/32", bad: true},
		{rule: "192.0.2.0/24 eq 32", prefix: "192.0.2.10/32", bad: true},
		{rule: "net", prefix: "192.0.2.10/32", bad: true},
		{rule: "", prefix: "192.0.2.10/32", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.rule+" "+tt.prefix, func(t *testing.T) {
			rule, err := ParsePrefixRule(tt.rule)
			got := err == nil && rule.Matches(netip.MustParsePrefix(tt.prefix))
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
