package make1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// TicketContent is the plaintext of a ticket (AUTH §5). No rights: the shard knows them.
type TicketContent struct {
	ServiceKID string // KEYUDF(S)
	Domain     string // target domain
	Secret     []byte // TS, 32 octets
	Account    string // canonical address if local
	ProfileUDF string // ProfileAccount; Service mode: ProfileService
	DeviceUDF  string // ProfileDevice; Service mode: ProfileHost
	AuthKID    string // of the key that authenticated the exchange
	Mode       Mode
	Epoch      uint64 // of the account
	Issued     time.Time
	Expires    time.Time
}

// Age is how long ago the ticket was issued. DeleteAccount and replacing profiles need one of at most 120 s.
func (c *TicketContent) Age(now time.Time) time.Duration { return now.Sub(c.Issued) }

// What is sealed under a ring says what it is in its first octet, besides the aad.
const (
	typeTicket  = 1
	typePageKey = 2
)

const (
	ticketVersion = 1
	suiteX448     = 1 // Suite
)

// The layout of a ticket. Tickets outlive a roll-out, so it must not change: another layout is another version,
// which older gateways answer as a ticket that no key opens.
//
//	 0  1  type 1
//	 1  1  version 1
//	 2  1  suite 1
//	 3  1  mode: 1 Device, 2 Profile, 3 Service
//	 4  8  epoch                      big endian, as all below
//	12  8  issued, Unix milliseconds
//	20  8  expires, Unix milliseconds
//	28 32  TS
//	60  …  ServiceKID, Domain, Account, ProfileUDF, DeviceUDF, AuthKID: each 2 octets of length and that many of UTF-8
const ticketFixed = 60

func modeOctet(m Mode) byte {
	switch m {
	case Device:
		return 1
	case Profile:
		return 2
	case Service:
		return 3
	}
	return 0
}

func (c *TicketContent) texts() [6]*string {
	return [6]*string{&c.ServiceKID, &c.Domain, &c.Account, &c.ProfileUDF, &c.DeviceUDF, &c.AuthKID}
}

func (c *TicketContent) encode() ([]byte, error) {
	mode := modeOctet(c.Mode)
	if mode == 0 || len(c.Secret) != keyLen {
		return nil, errors.New("ticket content without mode or with a secret of other than 32 octets")
	}
	b := []byte{typeTicket, ticketVersion, suiteX448, mode}
	b = binary.BigEndian.AppendUint64(b, c.Epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Issued.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Expires.UnixMilli()))
	b = append(b, c.Secret...)
	for _, text := range c.texts() {
		if len(*text) > math.MaxUint16 {
			return nil, errors.New("ticket content with a text over 65535 octets")
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(*text)))
		b = append(b, *text...)
	}
	if len(b) > maxTicket-ringOverhead {
		return nil, fmt.Errorf("ticket content of %d octets", len(b))
	}
	return b, nil
}

var errContent = errors.New("not a ticket of this version")

// decodeTicket accepts exactly what encode writes.
func decodeTicket(b []byte) (*TicketContent, error) {
	if len(b) < ticketFixed || b[0] != typeTicket || b[1] != ticketVersion || b[2] != suiteX448 {
		return nil, errContent
	}
	c := &TicketContent{
		Epoch:   binary.BigEndian.Uint64(b[4:]),
		Issued:  time.UnixMilli(int64(binary.BigEndian.Uint64(b[12:]))),
		Expires: time.UnixMilli(int64(binary.BigEndian.Uint64(b[20:]))),
		Secret:  append([]byte(nil), b[28:ticketFixed]...),
	}
	switch b[3] {
	case 1:
		c.Mode = Device
	case 2:
		c.Mode = Profile
	case 3:
		c.Mode = Service
	default:
		return nil, errContent
	}
	b = b[ticketFixed:]
	for _, text := range c.texts() {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, errContent
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		*text, b = string(b[2:n]), b[n:]
	}
	if len(b) != 0 {
		return nil, errContent
	}
	return c, nil
}
