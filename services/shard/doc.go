// Package shard is a persistence shard: the accounts of some partitions in one database.
//
// Store is the database, verb by verb (store.go; implementations in postgres and sqlite, judged by accountstest).
// Server is the gRPC face of one Store. Between them lies what needs both stored data and processor time: signatures,
// and the entries that the service may read. A shard keeps no state but caches that may be lost.
//
// # Who verifies what
//
// Every check is made once, where its data are. The gateway is trusted (mutual TLS, role gateway) to have checked:
//
//   - the caller: exchange or ticket, credential chain, mode and freshness of the ticket (AUTH §4, §5);
//   - addresses, container names, sizes, JSON, and that every entry of a catalog has UniqueID and Event;
//   - that a PayloadDigest written by the client is that of the payload, and PayloadDigest itself;
//   - the signatures of ProfileMesh and ProfileAccount of a CreateAccount, that the profiles belong together and name
//     the address (PROTOCOL §2.2 steps 1 to 4), and which containers its Updates may name (D-13).
//
// Faults of single entries come in Entry.reject. The shard process, before it calls a verb:
//
//   - that the account's own key vouches for the device that creates the account (§2.2 step 5, vouch.go);
//   - signatures of entries by keys that the account's devices have or had (signature.go): a known key whose signature
//     is wrong rejects the entry with 13, an unknown key is left to the readers;
//   - entries of mmm_Device, opened with the service's encryption key (device.go): connection under the stored profile,
//     rights (D-16). What can be read and does not prove out rejects the entry with 6; what is not encrypted to the service
//     is stored and leaves the device without rights, since the service cannot know which it should have.
//
// The Store, in the transaction that has the effect: fence, account state, epoch, device and rights of the caller,
// deduplication, expected index and digest, the states of catalog entries, redirects, quarantine.
package shard
