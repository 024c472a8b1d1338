package queue

// User is what the server lets a role do: subjects, with NATS' wildcards. What is not named is refused.
type User struct {
	Role      string
	Name      string // URI in the certificate, which verify_and_map makes the NATS user
	Publish   []string
	Subscribe []string
}

// Users is the table of NATS permissions.
func Users() []User { return nil }
