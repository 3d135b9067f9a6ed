package bgp

import (
	"encoding/binary"
	"fmt"
)

// Lengths and the type of RFC 4271, sections 4.1 and 4.5: the header of a message, a NOTIFICATION with
// its code and subcode.
const (
	headerLen        = 19
	notificationLen  = headerLen + 2
	typeNotification = 3
)

// NotificationBadPeerAS begins Peer.Notification, after "sent " or "received ", when the one end is not
// of the AS that the other one wants.
const NotificationBadPeerAS = "2/2 OPEN Message Error: Bad Peer AS"

// NotificationMaxPrefix is Peer.Notification, after "received ", of a neighbor that does not take as many prefixes
// as it is told (RFC 4486).
const NotificationMaxPrefix = "6/1 Cease: Maximum Number of Prefixes Reached"

// NotificationReset is Peer.Notification, after "sent ", of a session that an end has ended itself, as it does when BFD is
// down; NotificationBFDDown begins it, after "received ", where the neighbor says so (RFC 9384).
const (
	NotificationReset   = "6/4 Cease: Administrative Reset"
	NotificationBFDDown = "6/10 Cease"
)

// notifications is a writer that looks on at one direction of a BGP connection, and tells the
// NOTIFICATIONs in it. It never fails; the zero value but for tell is ready.
type notifications struct {
	tell func(text string)
	head [notificationLen]byte // of the message that goes on
	at   int                   // octets of it so far
}

// Write takes what goes by.
func (n *notifications) Write(p []byte) (int, error) {
	for _, b := range p {
		if n.at < len(n.head) {
			n.head[n.at] = b
		}
		n.at++
		if n.at == notificationLen && n.head[headerLen-1] == typeNotification {
			n.tell(notificationText(n.head[headerLen], n.head[headerLen+1]))
		}
		if n.at >= headerLen && n.at >= int(binary.BigEndian.Uint16(n.head[16:18])) {
			n.at = 0
		}
	}
	return len(p), nil
}

// notificationText is a NOTIFICATION as operators write it: "2/2 OPEN Message Error: Bad Peer AS" (the
// words of RFC 4271, section 4.5, RFC 4486 and RFC 5492).
func notificationText(code, subcode byte) string {
	codes := [...]string{1: "Message Header Error", "OPEN Message Error", "UPDATE Message Error", "Hold Timer Expired", "Finite State Machine Error", "Cease"}
	subcodes := map[byte][]string{
		2: {1: "Unsupported Version Number", "Bad Peer AS", "Bad BGP Identifier", "Unsupported Optional Parameter", 6: "Unacceptable Hold Time", "Unsupported Capability"},
		6: {
			1: "Maximum Number of Prefixes Reached", "Administrative Shutdown", "Peer De-configured", "Administrative Reset", "Connection Rejected",
			"Other Configuration Change", "Connection Collision Resolution", "Out of Resources",
		},
	}
	text := fmt.Sprintf("%d/%d", code, subcode)
	if int(code) < len(codes) && codes[code] != "" {
		text += " " + codes[code]
	}
	if words := subcodes[code]; int(subcode) < len(words) && words[subcode] != "" {
		text += ": " + words[subcode]
	}
	return text
}
