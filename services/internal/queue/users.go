package queue

import (
	"slices"
	"strings"
)

// ServerUser is the DNS name in the certificate of a NATS server. No user has it: it opens routes between servers, and nothing else.
const ServerUser = "nats.mesh.internal"

const (
	verdicts = "mesh.verdict."
	hints    = "mesh.hint." // mesh.event.v1.ContainerAdvanced: lost hints cost time, never an update
	deads    = "mesh.dead."
)

func verdictSubject(token string) string { return verdicts + token }

func deadSubject(s Stream) string { return deads + strings.ToLower(string(s)) }

// role is a line of the table of who may do what: DESIGN's table of roles, in subjects.
type role struct {
	name      string
	publishes []Stream
	consumes  Stream
	says      []string // further subjects
	hears     []string
}

func roles() []role {
	return []role{
		{name: "gateway", publishes: []Stream{Inbound}, hears: []string{verdicts + "*", hints + "*"}},
		{name: "shard", publishes: []Stream{Inbound, Outbound}, says: []string{hints + "*"}},
		{name: "inbound", consumes: Inbound, says: []string{verdicts + "*", deadSubject(Inbound)}},
		{name: "outbound", consumes: Outbound, says: []string{deadSubject(Outbound)}},
		{name: "meshctl", says: []string{"$JS.API.>"}},
	}
}

func roleOf(name string) (role, bool) {
	all := roles()
	i := slices.IndexFunc(all, func(r role) bool { return r.name == name })
	if i < 0 {
		return role{}, false
	}
	return all[i], true
}

// inbox is where replies to the role go: a role hears its own only.
func (r role) inbox() string { return "_INBOX." + r.name }

// streams that the role needs.
func (r role) streams() []Stream {
	if r.consumes != "" {
		return []Stream{r.consumes, Dead}
	}
	return r.publishes
}

// User is what the server lets a role do: subjects, with NATS' wildcards. What is not named is refused.
type User struct {
	Role      string
	Name      string // URI in the certificate (rpc.Role), which verify_and_map makes the NATS user
	Publish   []string
	Subscribe []string
}

// Users is the table of NATS permissions. They do not bind what the server says on a role's behalf: a reply subject may be any, so a
// role can have acknowledgements and messages of its own consumer put into another stream. Publish says for which stream a message
// is, and Consume gives up what says otherwise.
func Users() []User {
	var users []User
	for _, r := range roles() {
		u := User{Role: r.name, Name: "mesh://role/" + r.name, Publish: slices.Clone(r.says)}
		for _, s := range r.publishes {
			u.Publish = append(u.Publish, subjects[s])
		}
		for _, s := range r.streams() {
			u.Publish = append(u.Publish, "$JS.API.STREAM.INFO."+string(s)) // whether it carries the stamp
		}
		if r.consumes != "" {
			at := string(r.consumes) + "." + r.name
			u.Publish = append(u.Publish, "$JS.API.CONSUMER.INFO."+at, "$JS.API.CONSUMER.MSG.NEXT."+at,
				"$JS.ACK."+at+".>", "$JS.ACK.*.*."+at+".>") // the second form is that of later servers
		}
		u.Subscribe = append([]string{r.inbox() + ".>"}, r.hears...)
		users = append(users, u)
	}
	return users
}
