package api

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Affinity reads persistence: a word, or a mapping of a word and a timeout in seconds. It is
// how long a client address stays with its member after its last new connection, 0 = off; known
// is false where something else stands, which is ignored.
func (s *IngressSpec) Affinity() (affinity time.Duration, known bool) {
	switch p := s.Persistence.(type) {
	case nil:
		return 0, true
	case string:
		return affinityOf(p, DefaultAffinity)
	case map[string]any:
		return affinityFrom(p)
	}
	return 0, false
}

// affinityFrom reads the mapping {type: source_addr, timeout: 180}.
func affinityFrom(m map[string]any) (time.Duration, bool) {
	word, timeout, known := "", DefaultAffinity, true
	for key, value := range m {
		switch plain(key) {
		case "type", "mode", "method", "name", "profile":
			text, ok := value.(string)
			word, known = text, known && ok
		case "timeout", "timeoutseconds", "idletimeout":
			seconds, ok := value.(float64)
			if !ok || seconds < 1 || seconds > math.MaxUint32 || seconds != math.Trunc(seconds) {
				known = false
				continue
			}
			timeout = time.Duration(seconds) * time.Second
		default:
			known = false
		}
	}
	affinity, ok := affinityOf(word, timeout)
	return affinity, ok && known
}

// affinityOf knows the words for source address affinity: those of tmsh (source_addr), AS3
// (source-address), iControl (PERSISTENCE_MODE_SOURCE_ADDRESS_AFFINITY) and Services (ClientIP).
func affinityOf(word string, timeout time.Duration) (time.Duration, bool) {
	w := strings.TrimPrefix(plain(word), "persistencemode")
	switch {
	case slices.Contains([]string{"", "none", "disabled", "off"}, w):
		return 0, true
	case slices.Contains([]string{"sourceaddr", "sourceaddress", "sourceaddraffinity", "sourceaddressaffinity", "srcaddr", "sourceip", "clientip"}, w):
		return timeout, true
	}
	return 0, false
}

// plain is a word in lower case without what joins its parts.
func plain(word string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(word))
}
