package postgres

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/mathmesh/meshd/services/shard"
)

// ApplySQL returns the statement that Apply sends, and its arguments, for benchmarks that run the same statement elsewhere.
func ApplySQL(a shard.Application) (statement string, args []any) {
	return applySQL(), applyList(&a)
}

// ScriptAccount is an account that a script writes to.
type ScriptAccount struct {
	Partition uint16
	Address   string
	AuthKID   string
}

// ApplyScript is a pgbench script (-M prepared -n) that runs the statement of Apply for the application a, which must have one
// update with one entry of a catalog: each transaction is a new request, with a UniqueID of its own, of a random one of accounts.
// What it adds to the statement is the look-up of the account in an array.
func ApplyScript(a shard.Application, accounts []ScriptAccount) string {
	var partitions, addresses, kids []string
	for _, c := range accounts {
		partitions = append(partitions, strconv.Itoa(int(c.Partition)))
		addresses, kids = append(addresses, quote(c.Address)), append(kids, quote(c.AuthKID))
	}
	pick := func(values []string, as string) string {
		return "((ARRAY[" + strings.Join(values, ",") + "])[:i::integer])::" + as
	}
	args := applyList(&a)
	texts := make([]string, len(args))
	for i, arg := range args {
		texts[i] = literal(arg)
	}
	const unique = 9 + 9 // e_unique
	texts[0], texts[1], texts[4] = pick(partitions, "smallint"), pick(addresses, "text"), pick(kids, "text")
	texts[5] = "decode(lpad(to_hex(:r::bigint), 64, '0'), 'hex')"
	texts[unique] = "ARRAY['bench-' || :r::bigint]"
	statement := applySQL()
	call := statement[:strings.IndexByte(statement, '(')]
	return fmt.Sprintf("\\set i random(1, %d)\n\\set r random(1, 9223372036854775807)\n%s(%s);\n", len(accounts), call, strings.Join(texts, ","))
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// literal writes an argument of Apply as SQL.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return quote(v)
	case bool:
		return strconv.FormatBool(v)
	case int16:
		return fmt.Sprintf("%d::smallint", v)
	case int32:
		return fmt.Sprintf("%d::integer", v)
	case int64:
		return fmt.Sprintf("%d::bigint", v)
	case *int64:
		if v == nil {
			return "NULL"
		}
		return literal(*v)
	case []byte:
		if v == nil {
			return "NULL"
		}
		return `'\x` + hex.EncodeToString(v) + `'::bytea`
	case []string:
		return array(v, "text")
	case []bool:
		return array(v, "boolean")
	case []int16:
		return array(v, "smallint")
	case []int32:
		return array(v, "integer")
	case []*int64:
		return array(v, "bigint")
	case [][]byte:
		return array(v, "bytea")
	}
	panic(fmt.Sprintf("postgres: an argument of type %T", v)) // list and Apply's parameters changed without this
}

func array[T any](values []T, of string) string {
	texts := make([]string, len(values))
	for i := range values {
		texts[i] = literal(any(values[i]))
	}
	return "ARRAY[" + strings.Join(texts, ",") + "]::" + of + "[]"
}
