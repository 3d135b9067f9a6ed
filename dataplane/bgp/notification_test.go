package bgp

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// message is one of BGP with its header.
func message(kind byte, body ...byte) []byte {
	m := slices.Repeat([]byte{0xff}, 16)
	m = binary.BigEndian.AppendUint16(m, uint16(headerLen+len(body)))
	return append(append(m, kind), body...)
}

func heardIn(pieces ...[]byte) []string {
	var out []string
	n := notifications{tell: func(text string) { out = append(out, text) }}
	for _, p := range pieces {
		_, _ = n.Write(p) // it never fails
	}
	return out
}

func TestNotifications(t *testing.T) {
	open := message(1, slices.Repeat([]byte{typeNotification}, 30)...)
	bad := message(typeNotification, 2, 2)
	for _, tc := range []struct {
		name   string
		stream []byte
		want   []string
	}{
		{"none", slices.Concat(open, message(4)), nil},
		{"bad peer AS after an OPEN", slices.Concat(open, bad), []string{NotificationBadPeerAS}},
		{"with data", message(typeNotification, 6, 2, 1, 2, 3), []string{"6/2 Cease: Administrative Shutdown"}},
		{"two", slices.Concat(bad, message(4), message(typeNotification, 4, 0)), []string{NotificationBadPeerAS, "4/0 Hold Timer Expired"}},
		{"unknown", message(typeNotification, 9, 200), []string{"9/200"}},
		{"cut off", bad[:headerLen+1], nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, heardIn(tc.stream)); diff != "" {
				t.Errorf("in one piece (-want +got):\n%s", diff)
			}
			var octets [][]byte
			for _, b := range tc.stream {
				octets = append(octets, []byte{b})
			}
			if diff := cmp.Diff(tc.want, heardIn(octets...)); diff != "" {
				t.Errorf("octet by octet (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzNotifications wants the same of a stream however it is cut.
func FuzzNotifications(f *testing.F) {
	f.Add(message(typeNotification, 2, 2), uint(3))
	f.Add(slices.Concat(message(1, 4, 0xfd, 0xe9), message(4), message(typeNotification, 6, 9)), uint(20))
	f.Fuzz(func(t *testing.T, stream []byte, cut uint) {
		at := int(cut % uint(len(stream)+1))
		if diff := cmp.Diff(heardIn(stream), heardIn(stream[:at], stream[at:])); diff != "" {
			t.Error(diff)
		}
	})
}
