package api

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// PrefixRule is what an entry of a prefix list matches. The zero value matches every prefix.
type PrefixRule struct {
	Within    netip.Prefix
	Low, High int // of the prefixes' lengths
}

// ParsePrefixRule reads "10.0.0.0/8", "10.0.0.0/8 le 32", "10.0.0.0/8 ge 24 le 32" and "any".
func ParsePrefixRule(text string) (PrefixRule, error) {
	words := strings.Fields(text)
	if len(words) == 1 && words[0] == "any" {
		return PrefixRule{}, nil
	}
	bad := fmt.Errorf("%q is no rule; write one like 192.0.2.0/24 le 32", text)
	if len(words)%2 != 1 {
		return PrefixRule{}, bad
	}
	base, err := netip.ParsePrefix(words[0])
	if err != nil {
		return PrefixRule{}, bad
	}
	r := PrefixRule{Within: base.Masked(), Low: base.Bits(), High: base.Bits()}
	for i := 1; i < len(words); i += 2 {
		n, err := strconv.Atoi(words[i+1])
		switch {
		case err != nil || n < base.Bits() || n > base.Addr().BitLen():
			return PrefixRule{}, bad
		case words[i] == "ge":
			r.Low = n
			if len(words) == 3 {
				r.High = base.Addr().BitLen()
			}
		case words[i] == "le":
			r.High = n
		default:
			return PrefixRule{}, bad
		}
	}
	return r, nil
}

// Matches says whether the rule is about a prefix.
func (r PrefixRule) Matches(p netip.Prefix) bool {
	return !r.Within.IsValid() ||
		p.Addr().Is4() == r.Within.Addr().Is4() && r.Within.Contains(p.Addr()) && p.Bits() >= r.Low && p.Bits() <= r.High
}
