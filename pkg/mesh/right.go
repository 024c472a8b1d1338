package mesh

import "slices"

// RightName is the name of a right of a device (D-16), as in Permission.Name.
type RightName string

// The rights of devices.
const (
	AnyDevice         RightName = "" // no right beyond being a device of the account
	RightAdmin        RightName = "Admin"
	RightMessage      RightName = "Message"
	RightContact      RightName = "Contact"
	RightCredential   RightName = "Credential"
	RightBookmark     RightName = "Bookmark"
	RightCalendar     RightName = "Calendar"
	RightNetwork      RightName = "Network"
	RightApplication  RightName = "Application"
	RightConfirmation RightName = "Confirmation"
	RightAll          RightName = "All" // in a Permission only: every right except Admin
)

// Rights lists the rights that a device can have, Admin first; All is none of them.
func Rights() []RightName {
	return []RightName{
		RightAdmin, RightMessage, RightContact, RightCredential, RightBookmark, RightCalendar, RightNetwork,
		RightApplication, RightConfirmation,
	}
}

// RightsOf returns the rights that a connection grants, in the order of Rights: no list means all but Admin, All means
// the same, unknown names mean nothing. A list of nothing but unknown names grants nothing.
func RightsOf(c *ConnectionAccount) []RightName {
	granted := func(r RightName) bool {
		return slices.ContainsFunc(c.Permissions, func(p Permission) bool { return p.Name == string(r) })
	}
	all := len(c.Permissions) == 0 || granted(RightAll)
	var rights []RightName
	for _, r := range Rights() {
		if granted(r) || all && r != RightAdmin {
			rights = append(rights, r)
		}
	}
	return rights
}

// Permissions writes rights as the list of a connection.
func Permissions(rights ...RightName) []Permission {
	var list []Permission
	for _, r := range rights {
		list = append(list, Permission{Name: string(r)})
	}
	return list
}
