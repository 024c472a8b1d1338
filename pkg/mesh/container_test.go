package mesh

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCanonicalContainer(t *testing.T) {
	for in, want := range map[string]string{
		"mmm_Inbound": "mmm_Inbound", "mmm_Archive": "mmm_Archive", "mmm_Member": "mmm_Member",
		"mmm_CatalogApplication": "mmm_Application", "mmm_CatalogTask": "mmm_Calendar", "mmm_CatalogDevice": "mmm_Device",
		"ssh_Keys": "ssh_Keys", "ab_A": "ab_A", "abcdefghijklmnop_A" + strings.Repeat("z", 63): "abcdefghijklmnop_A" + strings.Repeat("z", 63),
	} {
		if got, ok := CanonicalContainer(in); !ok || got != want {
			t.Errorf("%s: %s %v", in, got, ok)
		}
	}
	for _, in := range []string{
		"", "mmm_", "mmm_Other", "mmm_inbound", "MMM_Inbound", "mmm_Inbound ", "mmms_Account", "mmmx_Foo", "mmm", "_A", "a_A",
		"ssh_keys", "ssh_K-", "ssh_K_", "ssh_", "ssh", "Ssh_Keys", "abcdefghijklmnopq_A", "ab_A" + strings.Repeat("z", 64), "s1_Keys", "ssh_Ké",
	} {
		if got, ok := CanonicalContainer(in); ok {
			t.Errorf("%q is the container %s", in, got)
		}
	}
}

// D-16.
func TestContainerRights(t *testing.T) {
	for name, want := range map[string][2]RightName{
		SpoolInbound: {AnyDevice, RightMessage}, SpoolArchive: {AnyDevice, RightMessage}, CatalogDevice: {RightAdmin, RightAdmin},
		CatalogCapability: {RightAdmin, RightAdmin}, CatalogPublication: {RightMessage, RightMessage}, CatalogContact: {RightContact, RightContact},
		CatalogCredential: {RightCredential, RightCredential}, CatalogApplication: {RightApplication, RightApplication},
		"ssh_Keys": {RightApplication, RightApplication}, "mmm_Other": {RightAdmin, RightAdmin}, "": {RightAdmin, RightAdmin},
	} {
		read, write := ContainerRights(name)
		if got := [2]RightName{read, write}; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	for _, name := range PersonalContainers() {
		if c, ok := CanonicalContainer(name); !ok || c != name {
			t.Errorf("%s is no container", name)
		}
	}
	readable := 0
	for name := range containers {
		if ServiceReadable(name) {
			readable++
		}
	}
	if readable != 5 || ServiceReadable(CatalogCredential) || ServiceReadable(SpoolInbound) || ServiceReadable("ssh_Keys") {
		t.Error("the service reads five containers") // DATA §5
	}
}

func TestRightsOf(t *testing.T) {
	all := Rights()
	for _, c := range []struct {
		list []Permission
		want []RightName
	}{
		{nil, all[1:]},
		{Permissions(RightAll), all[1:]},
		{Permissions(RightAdmin, RightAll), all},
		{Permissions(RightAdmin), all[:1]},
		{Permissions(RightConfirmation, RightMessage), []RightName{RightMessage, RightConfirmation}},
		{Permissions("Fly"), nil},
		{Permissions(""), nil},
		{Permissions("admin"), nil},
	} {
		if diff := cmp.Diff(c.want, RightsOf(&ConnectionAccount{Permissions: c.list})); diff != "" {
			t.Errorf("%v: %s", c.list, diff)
		}
	}
}

func TestIsSpool(t *testing.T) {
	for name, want := range map[string]bool{
		SpoolInbound: true, SpoolOutbound: true, SpoolLocal: true, SpoolArchive: true, CatalogDevice: false, "ssh_Keys": false, "mmm_Other": false,
	} {
		if IsSpool(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
