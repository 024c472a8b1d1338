// Package shard is a persistence shard: the accounts of some partitions in one database.
package shard
