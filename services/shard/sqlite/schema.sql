-- One shard's worth of data. Every key begins with the partition, as in PostgreSQL; times are Unix seconds.

CREATE TABLE constant (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE partition (
	partition INTEGER PRIMARY KEY,
	state INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	next_account INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE account (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	address TEXT NOT NULL,
	state INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	profile_udf TEXT NOT NULL,
	mesh_udf TEXT NOT NULL,
	profile_updated INTEGER NOT NULL, -- Unix milliseconds
	profile_mesh BLOB,
	profile_account BLOB,
	profile_group BLOB,
	redirect TEXT NOT NULL,
	creator_kid TEXT NOT NULL,
	created INTEGER NOT NULL,
	deleted INTEGER,
	PRIMARY KEY (partition, account),
	UNIQUE (partition, address)
);

-- The current entry of each device, by UniqueID in mmm_Device.
CREATE TABLE device (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	unique_id TEXT NOT NULL,
	device_udf TEXT NOT NULL,
	rights INTEGER NOT NULL,
	connection_digest BLOB,
	frame INTEGER NOT NULL,
	removed INTEGER NOT NULL,
	PRIMARY KEY (partition, account, unique_id)
) WITHOUT ROWID;

-- Authentication keys of devices that have not been removed; a device may show an older one.
CREATE TABLE device_auth (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	kid TEXT NOT NULL,
	unique_id TEXT NOT NULL,
	PRIMARY KEY (partition, account, kid)
) WITHOUT ROWID;

-- Signature keys of all devices that ever were: old frames name them.
CREATE TABLE device_sign (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	kid TEXT NOT NULL,
	unique_id TEXT NOT NULL,
	curve TEXT NOT NULL,
	key BLOB NOT NULL,
	PRIMARY KEY (partition, account, kid)
) WITHOUT ROWID;

-- Account 0 of a partition holds mmms_Account.
CREATE TABLE container (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	container INTEGER NOT NULL,
	name TEXT NOT NULL,
	frames INTEGER NOT NULL,
	peaks BLOB NOT NULL,
	PRIMARY KEY (partition, account, container),
	UNIQUE (partition, account, name)
);

CREATE TABLE frame (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	container INTEGER NOT NULL,
	idx INTEGER NOT NULL,
	envelope_id TEXT NOT NULL,
	unique_id TEXT NOT NULL,
	event INTEGER NOT NULL,
	message_type TEXT NOT NULL,
	received INTEGER NOT NULL,
	own INTEGER NOT NULL, -- written by the service: no Received is served
	payload_len INTEGER NOT NULL,
	payload_digest BLOB NOT NULL,
	digest_written INTEGER NOT NULL,
	tree_digest BLOB NOT NULL,
	header BLOB NOT NULL,
	trailer BLOB,
	payload BLOB, -- NULL: in the blob
	blob BLOB,
	PRIMARY KEY (partition, account, container, idx)
);
CREATE INDEX frame_envelope ON frame (partition, account, container, envelope_id) WHERE event = 0;

-- The last frame of each UniqueID of a catalog.
CREATE TABLE frame_current (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	container INTEGER NOT NULL,
	unique_id TEXT NOT NULL,
	idx INTEGER NOT NULL,
	event INTEGER NOT NULL,
	PRIMARY KEY (partition, account, container, unique_id)
) WITHOUT ROWID;

CREATE TABLE request_dedup (
	partition INTEGER NOT NULL,
	key BLOB NOT NULL,
	at INTEGER NOT NULL,
	digest BLOB NOT NULL,
	outcome BLOB NOT NULL, -- varints
	PRIMARY KEY (partition, key)
) WITHOUT ROWID;
CREATE INDEX request_dedup_at ON request_dedup (at);

-- What the current entry of each contact says, by UniqueID in mmm_Contact.
CREATE TABLE contact (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	unique_id TEXT NOT NULL,
	profile_udf TEXT NOT NULL, -- the pin; empty: none
	rights INTEGER NOT NULL,
	PRIMARY KEY (partition, account, unique_id)
) WITHOUT ROWID;
CREATE INDEX contact_pin ON contact (partition, account, profile_udf);

CREATE TABLE contact_address (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	unique_id TEXT NOT NULL,
	address TEXT NOT NULL,
	PRIMARY KEY (partition, account, unique_id, address)
) WITHOUT ROWID;
CREATE INDEX contact_address_address ON contact_address (partition, account, address);

-- A message of mmm_Outbound on its way to one recipient.
CREATE TABLE outbox (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	id BLOB NOT NULL,
	frame INTEGER NOT NULL,
	recipient TEXT NOT NULL,
	domain TEXT NOT NULL, -- empty: local
	state INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	waiter TEXT NOT NULL,
	created INTEGER NOT NULL,
	next_attempt INTEGER NOT NULL, -- of a published one: the end of the lease
	verdict_at INTEGER,
	accepted INTEGER NOT NULL DEFAULT 0,
	code INTEGER NOT NULL DEFAULT 0,
	rule TEXT NOT NULL DEFAULT '',
	policy TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (partition, account, id),
	UNIQUE (partition, account, frame, recipient)
) WITHOUT ROWID;
CREATE INDEX outbox_open ON outbox (next_attempt, partition, account, frame) WHERE state <= 2;

-- Verdicts on messages for an account. Accepted ones tell duplicates.
CREATE TABLE verdict (
	partition INTEGER NOT NULL,
	account INTEGER NOT NULL,
	envelope_id TEXT NOT NULL,
	sender_udf TEXT NOT NULL,
	sender_address TEXT NOT NULL,
	message_type TEXT NOT NULL,
	payload_digest BLOB NOT NULL,
	idx INTEGER NOT NULL, -- in mmm_Inbound, when accepted
	accepted INTEGER NOT NULL,
	code INTEGER NOT NULL,
	rule TEXT NOT NULL,
	policy TEXT NOT NULL,
	inputs TEXT NOT NULL,
	at INTEGER NOT NULL,
	PRIMARY KEY (partition, account, envelope_id, sender_udf)
) WITHOUT ROWID;
CREATE INDEX verdict_digest ON verdict (partition, account, sender_udf, payload_digest) WHERE accepted;
