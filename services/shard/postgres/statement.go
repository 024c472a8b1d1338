package postgres

import "github.com/mathmesh/meshd/services/shard"

// ApplyStatement is the one statement that Apply sends, with its arguments: for measurements beside the store (meshbench).
func ApplyStatement(a shard.Application) (sql string, args []any) { return applyCall(&a) }

// StatusStatement is the one statement that Status sends when no device entry is due, with its arguments.
func StatusStatement(q shard.StatusQuery) (sql string, args []any) {
	return seeSQL, seeArgs(q.Partition, q.Account, q.Caller.AuthKID, q.DeviceUDF)
}
