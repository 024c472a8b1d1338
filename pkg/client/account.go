package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// What lies under Config.Dir:
//
//	default                    address of the default account
//	accounts/<address>/
//	  lock                     held while the account is open
//	  account.json             all that is private, and who the service is; replaced as a whole
//	  queue                    local changes that the service does not have yet (queue.go)
//	  seen                     how far each container has been verified (seen.go)
//	  replica/<container>.dcat, .dspl
//	  conflicts/               entries that lost against another version (resolve.go)
//	  evidence/                what did not prove out (evidence.go)
const (
	dirAccounts  = "accounts"
	dirReplica   = "replica"
	dirConflicts = "conflicts"
	dirEvidence  = "evidence"
	fileAccount  = "account.json"
	fileQueue    = "queue"
	fileSeen     = "seen"
	fileLock     = "lock"
	fileDefault  = "default"
)

// States of an account on this machine.
const (
	stateLocal     = "local"     // the service knows nothing of it
	statePending   = "pending"   // the service waits for something
	stateConnected = "connected" // bound
	stateDeleted   = "deleted"
)

// accountFile is account.json.
type accountFile struct {
	Version  int64                 `json:"Version"`
	Address  string                `json:"Address"`
	Display  string                `json:"Display,omitempty"`
	State    string                `json:"State"`
	Secrets  mesh.Secrets          `json:"Secrets"`
	Device   *mesh.CatalogedDevice `json:"Device"`
	Service  *serviceFile          `json:"Service,omitempty"`
	Creation jbcd.Raw              `json:"Creation,omitempty"` // the CreateAccount that may have reached the service: sent again, to the octet
}

// serviceFile is the pinned service, and the host whose key was the last that was seen.
type serviceFile struct {
	UDF            string         `json:"UDF"`
	ProfileService *dare.Envelope `json:"ProfileService"`
	ProfileHost    *dare.Envelope `json:"ProfileHost"`

	Constraints *mesh.ConstraintsData `json:"Constraints,omitempty"` // of Uploads, as Hello gave them

	EarlierHosts []*dare.Envelope `json:"EarlierHosts,omitempty"` // newest first: who signed what lies in the spools
}

const accountFileVersion = 1

// maxEarlierHosts bounds EarlierHosts: ten years of hosts whose keys change every half year.
const maxEarlierHosts = 20

// Account is an account on this machine. It holds the account's lock until Close. Not for concurrent use.
type Account struct {
	conf     Config
	address  mesh.Address
	dir      string
	lock     *os.File
	file     *accountFile
	member   *member
	queue    *queue
	replicas map[string]*replica
	seen     map[string]remote // by container
	session  *session
	made     bool // by the Create that runs
}

// accountDir is the folder of an account. Local parts may hold characters that file systems give a meaning. Letters of
// other scripts stay as they are: escaped, sixty of them are longer than a name of a file may be.
func accountDir(dir, address string) string {
	at := strings.LastIndexByte(address, '@')
	var name strings.Builder
	for _, r := range address[:at] {
		if r < utf8.RuneSelf {
			name.WriteString(url.PathEscape(string(r)))
		} else {
			name.WriteRune(r)
		}
	}
	return filepath.Join(dir, dirAccounts, name.String()+address[at:])
}

// Open opens an account of this machine; address "" is the only or default one. It waits a little for another process
// that has it open, then gives *LockedError. No such account: *NotFoundError.
func Open(c Config, address string) (*Account, error) {
	if address == "" {
		all, err := Accounts(c)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, &NotFoundError{"an account on this machine"}
		}
		address = all[0]
	}
	parsed, err := mesh.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	dir := accountDir(c.Dir, parsed.String())
	if !exists(filepath.Join(dir, fileAccount)) {
		return nil, &NotFoundError{"account " + parsed.String()}
	}
	a, err := openAccount(c, parsed, dir)
	if err != nil {
		return nil, err
	}
	if err := a.load(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// openAccount takes the lock of an account's folder.
func openAccount(c Config, address mesh.Address, dir string) (*Account, error) {
	path := filepath.Join(dir, fileLock)
	held, err := lock(path, lockWait)
	if errors.Is(err, errLocked) {
		return nil, &LockedError{Address: address.String(), Path: path}
	}
	if err != nil {
		return nil, err
	}
	return &Account{conf: c, address: address, dir: dir, lock: held, replicas: map[string]*replica{}}, nil
}

// load reads what there is of an account, and its queue.
func (a *Account) load() error {
	content, err := os.ReadFile(filepath.Join(a.dir, fileAccount))
	if err != nil {
		return err
	}
	f := new(accountFile)
	if err := jbcd.Unmarshal(content, f); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(a.dir, fileAccount), err)
	}
	if f.Version != accountFileVersion || f.Device == nil || len(f.Device.Accounts) != 1 {
		return fmt.Errorf("%s: not an account file of this version", filepath.Join(a.dir, fileAccount))
	}
	a.file = f
	if err := a.activate(); err != nil {
		return err
	}
	if err := a.loadSeen(); err != nil {
		return err
	}
	return a.openQueue()
}

func (a *Account) openQueue() (err error) {
	a.queue, err = openQueue(filepath.Join(a.dir, fileQueue))
	return err
}

// activate computes the keys of the membership.
func (a *Account) activate() error {
	m, err := mesh.Activate(&a.file.Secrets.Device, a.file.Device, a.file.Device.Accounts[0].AccountUDF)
	if err != nil {
		return err
	}
	a.member = newMember(m, zeroKey)
	if s := a.file.Service; s != nil {
		p, err := mesh.VerifyProfileService(s.ProfileService)
		if err != nil {
			return err
		}
		if p.KeyEncryption != nil {
			a.member.service = *p.KeyEncryption.PublicParameters
		}
	}
	return nil
}

// save writes account.json.
func (a *Account) save() error {
	content, err := jbcd.Marshal(a.file)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(a.dir, fileAccount), content)
}

// Accounts lists the canonical addresses of this machine, the default one first.
func Accounts(c Config) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(c.Dir, dirAccounts))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		at := strings.LastIndexByte(e.Name(), '@')
		if at < 0 || !exists(filepath.Join(c.Dir, dirAccounts, e.Name(), fileAccount)) {
			continue
		}
		if local, err := url.PathUnescape(e.Name()[:at]); err == nil {
			all = append(all, local+e.Name()[at:])
		}
	}
	first, err := os.ReadFile(filepath.Join(c.Dir, fileDefault))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	slices.SortFunc(all, func(x, y string) int {
		if rank := rank(x, string(first)) - rank(y, string(first)); rank != 0 {
			return rank
		}
		return strings.Compare(x, y)
	})
	return all, nil
}

func rank(address, first string) int {
	if address == first {
		return 0
	}
	return 1
}

// Address is the account's canonical address.
func (a *Account) Address() string { return a.address.String() }

// Info is what this machine knows of an account.
type Info struct {
	Address    string
	AccountUDF string // of the ProfileAccount: the identity
	MeshUDF    string // of the ProfileMesh
	DeviceUDF  string // of this device's ProfileDevice
	ServiceUDF string // of the pinned ProfileService, "" before the first contact
	State      string // "local", "pending", "connected", "deleted"
	Pending    int    // local changes that the service does not have
}

// Info describes the account as this machine knows it.
func (a *Account) Info() Info {
	i := Info{
		Address:    a.Address(),
		AccountUDF: a.member.Account.UDF(),
		MeshUDF:    a.member.Mesh.UDF(),
		DeviceUDF:  a.file.Device.DeviceUDF,
		State:      a.file.State,
		Pending:    len(a.queue.latest),
	}
	if a.file.Service != nil {
		i.ServiceUDF = a.file.Service.UDF
	}
	return i
}

// Close releases locks and files.
func (a *Account) Close() error {
	var err error
	for _, r := range a.replicas {
		err = errors.Join(err, r.close())
	}
	if a.queue != nil {
		err = errors.Join(err, a.queue.close())
	}
	if a.session != nil {
		a.session.transport.close()
	}
	return errors.Join(err, a.lock.Close())
}

// replica returns the replica of a canonical container.
func (a *Account) replica(container string) (*replica, error) {
	if r, ok := a.replicas[container]; ok {
		return r, nil
	}
	r, err := openReplica(filepath.Join(a.dir, dirReplica), container, a.member)
	if err != nil {
		return nil, err
	}
	r.seen = a.seen[container]
	a.replicas[container] = r
	return r, nil
}

// online returns the session in profile mode: under the connection that the account's profile vouches for.
func (a *Account) online(ctx context.Context) (*session, error) {
	switch a.file.State {
	case stateConnected:
	case stateDeleted:
		return nil, &NotFoundError{"account " + a.Address() + " at its service (it was deleted)"}
	default:
		return nil, &NotFoundError{"account " + a.Address() + " at a service (it is not bound yet)"}
	}
	if a.session != nil {
		return a.session, nil
	}
	s, err := a.newSession(ctx)
	if err != nil {
		return nil, err
	}
	s.holder, s.authKID = a.member.holder, a.member.Authentication.KID()
	s.cred = make1.Credential{Mode: make1.Profile, Account: a.Address(), Envelopes: []*dare.Envelope{a.member.Credential}}
	a.session = s
	return s, nil
}

// newSession is one without credential, to the pinned service if there is one.
func (a *Account) newSession(ctx context.Context) (*session, error) {
	t, err := newTransport(ctx, &a.conf, a.address.Domain, personal())
	if err != nil {
		return nil, err
	}
	s := &session{transport: t, conf: &a.conf, pin: a.conf.Pins[a.address.Domain], renewed: a.pin}
	if f := a.file.Service; f != nil {
		if s.pin != "" && !mesh.SameUDF(s.pin, f.UDF) {
			return nil, &ProofError{
				Fault: string(checkService), Index: -1,
				Err: fmt.Errorf("the service of %s is %s to this machine, pinned is %s", a.address.Domain, f.UDF, s.pin),
			}
		}
		s.pin = f.UDF
		// A host whose key is over by now is no error: Hello brings the next.
		s.service, _ = verifyService(f.ProfileService, f.ProfileHost, a.conf.now())
	}
	return s, nil
}

// pin keeps who the service is.
func (a *Account) pin(s *service) error {
	before := a.file.Service
	a.file.Service = &serviceFile{
		UDF: s.udf, ProfileService: s.profile, ProfileHost: s.host, Constraints: s.hello.ConstraintsUpdate,
	}
	if before != nil {
		a.file.Service.EarlierHosts = before.EarlierHosts
		if !bytes.Equal(before.ProfileHost.Payload, s.host.Payload) {
			hosts := append([]*dare.Envelope{before.ProfileHost}, before.EarlierHosts...)
			a.file.Service.EarlierHosts = hosts[:min(len(hosts), maxEarlierHosts)]
		}
	}
	a.member.service = s.encrypt
	return a.save()
}

// Status asks the service for container states.
func (a *Account) Status(ctx context.Context) (*mesh.StatusResponse, error) {
	s, err := a.online(ctx)
	if err != nil {
		return nil, err
	}
	res := new(mesh.StatusResponse)
	_, err = a.status(ctx, s, res)
	return res, err
}

// status also returns the answer as it came.
func (a *Account) status(ctx context.Context, s *session, res *mesh.StatusResponse) (*received, error) {
	digest := a.file.Device.EnvelopedProfileMesh.Digest()
	return s.call(ctx, mesh.TagStatus, &mesh.StatusRequest{
		RequestUser: mesh.RequestUser{Account: a.Address()}, DeviceUDF: a.file.Device.DeviceUDF, ProfileMasterDigest: digest,
	}, res, needAny)
}

// Download passes a Download to the service (`account download`): what comes back is decoded, not verified, and not
// applied to the replica.
func (a *Account) Download(ctx context.Context, selects []mesh.ConstraintsSelect, limits *mesh.ConstraintsData) (*mesh.DownloadResponse, error) {
	s, err := a.online(ctx)
	if err != nil {
		return nil, err
	}
	res := new(mesh.DownloadResponse)
	_, err = s.call(ctx, mesh.TagDownload, &mesh.DownloadRequest{
		RequestUser: mesh.RequestUser{Account: a.Address()}, Select: selects, ConstraintsPost: limits,
	}, res, needAny)
	return res, err
}

// Delete deletes the account at its service. What is on this machine stays.
func (a *Account) Delete(ctx context.Context) error {
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	_, err = s.call(ctx, mesh.TagDeleteAccount, &mesh.DeleteRequest{
		RequestUser: mesh.RequestUser{Account: a.Address()},
	}, new(mesh.DeleteResponse), needFresh)
	if err != nil {
		return err
	}
	a.file.State = stateDeleted
	return a.save()
}
