package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/postgres"
)

// The yardstick is pgbench with the statements that the store sends, against the schema that the store has, in a database of
// its own on the same server. Each client of pgbench has an account of its own, as each client of ours; the accounts differ by
// partition only, which pgbench can count. A statement is made twice for two requests that differ in what every request has
// anew: where the arguments differ pgbench makes them by an expression, the others are sent as they are.

// yardAddress is the address of every account of the yardstick, each in a partition of its own.
const yardAddress = "bench@yardstick.example"

// yardstick is a statement as the store sends it, for pgbench.
type yardstick struct {
	script    string   // file with the statement
	variables []string // name=value of the arguments that stay the same
}

// newYardsticks fills a database that has the schema with n accounts and writes the scripts of both transactions to dir. The
// entry is one of model's.
func newYardsticks(ctx context.Context, dir, database string, n, size int, model *account) (map[transaction]*yardstick, error) {
	store, err := postgres.Open(ctx, database)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if err := store.SetPartitions(ctx, 0, uint16(n-1), shard.PartitionOpen, 1); err != nil {
		return nil, err
	}
	frame, err := model.bookmark(size, false)
	if err != nil {
		return nil, err
	}
	for i := range n {
		if err := createYard(ctx, store, uint16(i), model); err != nil {
			return nil, err
		}
	}
	apply := func(partition uint16, nonce string) (string, []any) {
		return postgres.ApplyStatement(yardApplication(partition, nonce, model, yardEntry(frame, nonce)))
	}
	look := func(partition uint16, _ string) (string, []any) {
		return postgres.StatusStatement(shard.StatusQuery{Partition: partition, Account: yardAddress, Caller: yardCaller(model, "")})
	}
	all := make(map[transaction]*yardstick)
	for t, statement := range map[transaction]func(uint16, string) (string, []any){upload: apply, status: look} {
		if all[t], err = writeYardstick(filepath.Join(dir, string(t)+".sql"), statement); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func yardCaller(model *account, nonce string) shard.Caller {
	c := shard.Caller{
		Domain: "yardstick.example", Mode: shard.ModeProfile, Account: yardAddress, ProfileUDF: model.member.Account.UDF(),
		AuthKID: model.member.Authentication.KID(), RequestDigest: make([]byte, 32),
	}
	if nonce != "" {
		c.RequestID = []byte(nonce)
	}
	return c
}

func yardApplication(partition uint16, nonce string, model *account, entries ...shard.Entry) shard.Application {
	return shard.Application{
		Partition: partition, Account: yardAddress, Caller: yardCaller(model, nonce),
		Updates: []shard.ContainerUpdate{{Container: container, Right: shard.Bookmark, Entries: entries}},
	}
}

func yardEntry(e *dare.Envelope, id string) shard.Entry {
	return shard.Entry{
		Header: e.Header, Payload: e.Payload, Trailer: e.Trailer, PayloadDigest: e.Digest(), DigestWritten: true,
		EnvelopeID: id, UniqueID: id, Event: shard.New,
	}
}

// createYard makes an account with a device and the container that is written to.
func createYard(ctx context.Context, store *postgres.Store, partition uint16, model *account) error {
	profileMesh, err := model.profileMesh.MarshalJBCD()
	if err != nil {
		return err
	}
	profileAccount, err := model.profileAccount.MarshalJBCD()
	if err != nil {
		return err
	}
	zero := int64(0)
	empty := &dare.Envelope{Header: []byte(`{}`)}
	first := shard.Entry{Header: empty.Header, PayloadDigest: empty.Digest(), Index: &zero}
	frame, err := model.bookmark(1<<10, true)
	if err != nil {
		return err
	}
	device := yardEntry(frame, "device")
	device.Device = &shard.DeviceChange{
		DeviceUDF: "device", AuthKID: model.member.Authentication.KID(), SignKID: model.member.Signature.KID(),
		SignCurve: string(model.member.Signature.Public().Curve), SignKey: model.member.Signature.Public().Octets,
		ConnectionDigest: model.member.Credential.Digest(), Rights: shard.AllRights,
	}
	_, err = store.Create(ctx, shard.Creation{
		Partition: partition, Address: yardAddress, Caller: yardCaller(model, "create"), ProfileUDF: model.member.Account.UDF(),
		MeshUDF: model.member.Mesh.UDF(), ProfileUpdated: time.Now(), ProfileMesh: profileMesh, ProfileAccount: profileAccount,
		AccountFrame: shard.Entry{Header: []byte(`{}`), PayloadDigest: empty.Digest(), Event: shard.New, EnvelopeID: "account", UniqueID: "account"},
		State:        shard.Connected,
		Updates:      []shard.ContainerUpdate{{Container: mesh.CatalogDevice, Entries: []shard.Entry{first, device}}},
	})
	if err != nil {
		return err
	}
	_, err = store.Apply(ctx, yardApplication(partition, "first", model, first, yardEntry(frame, "first")))
	return err
}

// writeYardstick makes the script of a statement. statement gives it for a partition and for what is new in each request: the
// deduplication key and the names of the entry, which become digests and texts of the lengths that they have with us.
func writeYardstick(path string, statement func(partition uint16, nonce string) (string, []any)) (*yardstick, error) {
	const nonce, other = "nonce-1", "nonce-2"
	sql, args := statement(1, nonce)
	_, moved := statement(2, nonce)
	_, renamed := statement(1, other)
	y := &yardstick{script: path}
	texts := make([]string, len(args))
	for i, arg := range args {
		switch value := arg.(type) {
		default:
			literal, null, err := literal(arg)
			if err != nil {
				return nil, fmt.Errorf("argument %d: %w", i+1, err)
			}
			switch {
			case null:
				texts[i] = "NULL"
			case literal == "": // pgbench has no empty variables
				texts[i] = "''"
			default:
				texts[i] = fmt.Sprintf(":p%d", i+1)
				y.variables = append(y.variables, fmt.Sprintf("p%d=%s", i+1, literal))
			}
		case int16:
			if texts[i] = fmt.Sprintf("'%d'", value); !reflect.DeepEqual(arg, moved[i]) {
				texts[i] = ":client_id"
			}
		case []byte:
			if value == nil {
				texts[i] = "NULL"
				break
			}
			if reflect.DeepEqual(arg, renamed[i]) {
				texts[i] = fmt.Sprintf(":p%d", i+1)
				y.variables = append(y.variables, fmt.Sprintf("p%d=\\x%x", i+1, value))
				break
			}
			texts[i] = `sha256(int8send(:id))`
		case string:
			if reflect.DeepEqual(arg, renamed[i]) {
				if texts[i] = "''"; value != "" { // pgbench has no empty variables
					texts[i] = fmt.Sprintf(":p%d", i+1)
					y.variables = append(y.variables, fmt.Sprintf("p%d=%s", i+1, value))
				}
				break
			}
			texts[i] = `encode(sha256(int8send(:id)), 'hex')`
		case []string:
			if reflect.DeepEqual(arg, renamed[i]) {
				literal, _, err := literal(arg)
				if err != nil {
					return nil, err
				}
				texts[i] = fmt.Sprintf(":p%d", i+1)
				y.variables = append(y.variables, fmt.Sprintf("p%d=%s", i+1, literal))
				break
			}
			texts[i] = `ARRAY[encode(sha256(int8send(:id)), 'hex')]`
		}
	}
	script := regexp.MustCompile(`\$\d+`).ReplaceAllStringFunc(sql, func(s string) string {
		n, _ := strconv.Atoi(s[1:]) // digits, by the expression
		return texts[n-1]
	})
	script = "\\set id random(1, 9000000000000000000)\n" + strings.Join(strings.Fields(script), " ") + ";\n"
	return y, os.WriteFile(path, []byte(script), 0o644)
}

// literal writes an argument as PostgreSQL reads it; null for none.
func literal(v any) (text string, null bool, err error) {
	rv := reflect.ValueOf(v)
	switch {
	case !rv.IsValid() || rv.Kind() == reflect.Pointer && rv.IsNil():
		return "", true, nil
	case rv.Kind() == reflect.Pointer:
		return literal(rv.Elem().Interface())
	case rv.CanInt():
		return strconv.FormatInt(rv.Int(), 10), false, nil
	case rv.Kind() == reflect.Bool:
		return strconv.FormatBool(rv.Bool()), false, nil
	case rv.Kind() == reflect.String:
		return rv.String(), false, nil
	case rv.Kind() == reflect.Slice && rv.Type().Elem().Kind() == reflect.Uint8:
		return `\x` + hex.EncodeToString(rv.Bytes()), rv.IsNil(), nil
	case rv.Kind() == reflect.Slice:
		var b strings.Builder
		b.WriteByte('{')
		for i := range rv.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			text, null, err := literal(rv.Index(i).Interface())
			switch {
			case err != nil:
				return "", false, err
			case null:
				b.WriteString("NULL")
			default:
				b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`)
			}
		}
		b.WriteByte('}')
		return b.String(), false, nil
	}
	return "", false, fmt.Errorf("no literal of %T", v)
}

// frames counts the frames of the yardstick's accounts: what pgbench says that it did must have been stored.
func frames(ctx context.Context, database string, n int) (int64, error) {
	store, err := postgres.Open(ctx, database)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	var sum int64
	for i := range n {
		at, err := store.Where(ctx, uint16(i), yardAddress)
		if err != nil {
			return 0, err
		}
		i := slices.IndexFunc(at.Containers, func(c shard.ContainerState) bool { return c.Container == container })
		if i < 0 {
			return 0, errors.New("the yardstick's container is missing")
		}
		sum += at.Containers[i].Frames
	}
	return sum, nil
}

// connectTime is what one connection of pgbench takes.
const connectTime = 10 * time.Millisecond

// pgbench runs a yardstick. One thread drives all clients: it has next to nothing to do, and a second would only take the
// server's processor.
func (y *yardstick) pgbench(ctx context.Context, program, database string, clients int, d time.Duration) (*yardSample, error) {
	// Connecting takes some of pgbench's time, but does not count in what it says.
	seconds := int((d + connectTime*time.Duration(clients)).Round(time.Second).Seconds())
	args := []string{"-n", "-M", "prepared", "-f", y.script, "-c", strconv.Itoa(clients), "-j", "1", "-T", strconv.Itoa(max(1, seconds))}
	for _, v := range y.variables {
		args = append(args, "-D", v)
	}
	cmd := exec.CommandContext(ctx, program, append(args, database)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("pgbench: %w\n%s", err, out.Bytes())
	}
	return parsePgbench(out.String())
}

// yardSample is what one run of pgbench gave.
type yardSample struct {
	perSecond    float64
	transactions int64
}

// parsePgbench reads what pgbench says at its end.
func parsePgbench(out string) (*yardSample, error) {
	find := func(expression string) (float64, error) {
		m := regexp.MustCompile(expression).FindStringSubmatch(out)
		if m == nil {
			return 0, fmt.Errorf("pgbench: nothing like %s in what it said", expression)
		}
		return strconv.ParseFloat(m[1], 64)
	}
	failed, err := find(`(?m)^number of failed transactions: (\d+)`)
	if err == nil && failed > 0 {
		return nil, fmt.Errorf("pgbench: %.0f transactions failed", failed)
	}
	done, err := find(`(?m)^number of transactions actually processed: (\d+)`)
	if err != nil {
		return nil, err
	}
	if done == 0 {
		return nil, errors.New("pgbench: not one transaction in the time")
	}
	tps, err := find(`(?m)^tps = ([0-9.]+) \(without`)
	return &yardSample{perSecond: tps, transactions: int64(done)}, err
}
