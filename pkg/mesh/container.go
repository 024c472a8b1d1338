package mesh

import "strings"

// Wire names of containers (DATA §7).
const (
	SpoolInbound  = "mmm_Inbound"
	SpoolOutbound = "mmm_Outbound"
	SpoolLocal    = "mmm_Local"
	SpoolArchive  = "mmm_Archive"

	CatalogApplication = "mmm_Application"
	CatalogDevice      = "mmm_Device"
	CatalogContact     = "mmm_Contact"
	CatalogCredential  = "mmm_Credential"
	CatalogBookmark    = "mmm_Bookmark"
	CatalogCalendar    = "mmm_Calendar"
	CatalogNetwork     = "mmm_Network"
	CatalogCapability  = "mmm_Capability"
	CatalogPublication = "mmm_Publication"
	CatalogMember      = "mmm_Member" // groups only

	// Of a service, one of each per partition; no account has them, so CanonicalContainer does not know them.
	ServiceAccounts  = "mmms_Account"
	ServiceIncidents = "mmms_Incident"
)

// container is what the protocol says of a container.
type container struct {
	alias       string // spelling of the companion schema
	spool       bool
	read, write RightName
	readable    bool // by the service
}

var containers = map[string]container{
	SpoolInbound:  {spool: true, read: AnyDevice, write: RightMessage},
	SpoolOutbound: {spool: true, read: AnyDevice, write: RightMessage},
	SpoolLocal:    {spool: true, read: AnyDevice, write: RightMessage},
	SpoolArchive:  {spool: true, read: AnyDevice, write: RightMessage},

	CatalogApplication: {alias: "mmm_CatalogApplication", read: RightApplication, write: RightApplication},
	CatalogDevice:      {alias: "mmm_CatalogDevice", read: RightAdmin, write: RightAdmin, readable: true},
	CatalogContact:     {alias: "mmm_CatalogContact", read: RightContact, write: RightContact, readable: true},
	CatalogCredential:  {alias: "mmm_CatalogCredential", read: RightCredential, write: RightCredential},
	CatalogBookmark:    {alias: "mmm_CatalogBookmark", read: RightBookmark, write: RightBookmark},
	CatalogCalendar:    {alias: "mmm_CatalogTask", read: RightCalendar, write: RightCalendar},
	CatalogNetwork:     {alias: "mmm_CatalogNetwork", read: RightNetwork, write: RightNetwork},
	CatalogCapability:  {alias: "mmm_CatalogCapability", read: RightAdmin, write: RightAdmin, readable: true},
	CatalogPublication: {alias: "mmm_CatalogPublication", read: RightMessage, write: RightMessage, readable: true},
	CatalogMember:      {alias: "mmm_CatalogMember", read: RightAdmin, write: RightAdmin, readable: true},
}

var containerAliases = func() map[string]string {
	m := map[string]string{}
	for name, c := range containers {
		if c.alias != "" {
			m[c.alias] = name
		}
	}
	return m
}()

// CanonicalContainer returns the wire name of a container of an account: name itself, or what it is an alias of.
// False when an account can have no such container.
func CanonicalContainer(name string) (string, bool) {
	if _, ok := containers[name]; ok {
		return name, true
	}
	if canonical, ok := containerAliases[name]; ok {
		return canonical, true
	}
	return name, isApplicationCatalog(name)
}

// isApplicationCatalog says whether name is ^[a-z]{2,16}_[A-Z][A-Za-z0-9]{0,63}$ and does not begin with mmm.
func isApplicationCatalog(name string) bool {
	prefix, rest, ok := strings.Cut(name, "_")
	if !ok || len(prefix) < 2 || len(prefix) > 16 || strings.HasPrefix(prefix, "mmm") || len(rest) < 1 || len(rest) > 64 {
		return false
	}
	for _, c := range []byte(prefix) {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	for i, c := range []byte(rest) {
		upper := c >= 'A' && c <= 'Z'
		if i == 0 && !upper || !upper && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// ContainerRights returns the rights that reading and writing a container need (D-16); name is canonical.
// A name that is no container of an account needs Admin, so a missing check does not open anything.
func ContainerRights(name string) (read, write RightName) {
	if c, ok := containers[name]; ok {
		return c.read, c.write
	}
	if isApplicationCatalog(name) {
		return RightApplication, RightApplication
	}
	return RightAdmin, RightAdmin
}

// ServiceReadable says whether the entries of a container are encrypted to the service too (DATA §5).
func ServiceReadable(name string) bool { return containers[name].readable }

// IsSpool says whether a container, by its canonical name, is a spool; the others are catalogs.
func IsSpool(name string) bool { return containers[name].spool }

// PersonalContainers lists the containers that a personal account may have besides application catalogs, in the
// order of Status.
func PersonalContainers() []string {
	return []string{
		SpoolInbound, SpoolOutbound, SpoolLocal, CatalogCapability, CatalogCredential, CatalogDevice, CatalogContact, CatalogApplication,
		CatalogBookmark, CatalogCalendar, CatalogNetwork, CatalogPublication, SpoolArchive,
	}
}
