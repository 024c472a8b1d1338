-- The tables of a shard (docs/design.md). Every primary key begins with the partition, so that a partition is a row filter for
-- logical replication; there are no identity columns and no foreign keys, which replication would not follow. Numbers of states,
-- events, outcomes and rights are those of package shard. Identifiers are compared as octets.

-- +goose Up
CREATE TABLE constant (
	name text PRIMARY KEY,
	value text NOT NULL
);

-- The fence. Writers hold pg_advisory_xact_lock_shared(partition) and read the row afterwards, in a statement of its own.
CREATE TABLE partition (
	partition smallint PRIMARY KEY CHECK (partition BETWEEN 0 AND 4095),
	state smallint NOT NULL,
	epoch bigint NOT NULL,
	next_account bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 50);

CREATE TABLE account (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	address text COLLATE "C" NOT NULL,
	kind smallint NOT NULL DEFAULT 1, -- 1 personal, 2 group
	state smallint NOT NULL,
	epoch bigint NOT NULL,
	profile_udf text COLLATE "C" NOT NULL,
	mesh_udf text COLLATE "C" NOT NULL,
	profile_updated timestamptz NOT NULL,
	profile_mesh bytea,
	profile_account bytea,
	profile_group bytea,
	administrators text[] COLLATE "C", -- of a group: ProfileAccount UDFs (D-35)
	redirect text COLLATE "C" NOT NULL DEFAULT '', -- first address of the same ProfileAccount: this row is an alias
	creator_kid text COLLATE "C" NOT NULL,
	created timestamptz NOT NULL DEFAULT now(),
	deleted timestamptz,
	PRIMARY KEY (partition, account),
	UNIQUE (partition, address)
) WITH (fillfactor = 80);
-- To count accounts without reading their profiles.
CREATE INDEX account_live ON account (partition) WHERE state <> 4;

-- The current entry of each device, by UniqueID in mmm_Device.
CREATE TABLE device (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	device_udf text COLLATE "C" NOT NULL,
	rights integer NOT NULL,
	connection_digest bytea,
	frame bigint NOT NULL,
	removed boolean NOT NULL,
	PRIMARY KEY (partition, account, unique_id)
);

-- Authentication keys of devices that have not been removed: a device shows an older one until it has read its new entry.
CREATE TABLE device_auth (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	kid text COLLATE "C" NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	PRIMARY KEY (partition, account, kid)
);

-- Signature keys of all devices that ever were: old frames name them.
CREATE TABLE device_sign (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	kid text COLLATE "C" NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	curve text NOT NULL,
	key bytea NOT NULL,
	PRIMARY KEY (partition, account, kid)
);

-- peaks: the open edge of the Merkle tree (D-43), 64 octets each; the last is the tree digest of the container. Account 0 of a
-- partition holds mmms_Account and mmms_Incident. A row is rewritten by every append: room for HOT updates.
CREATE TABLE container (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	container smallint NOT NULL,
	name text COLLATE "C" NOT NULL,
	frames bigint NOT NULL,
	peaks bytea NOT NULL,
	PRIMARY KEY (partition, account, container),
	UNIQUE (partition, account, name)
) WITH (fillfactor = 50);
ALTER TABLE container ALTER COLUMN peaks SET STORAGE PLAIN; -- at most 63 × 64 octets, and always needed

CREATE TABLE frame (
	partition smallint NOT NULL,
	container smallint NOT NULL,
	event smallint NOT NULL,
	own boolean NOT NULL, -- written by the service: no Received is served
	digest_written boolean NOT NULL,
	account bigint NOT NULL,
	idx bigint NOT NULL,
	received timestamptz NOT NULL, -- whole seconds
	payload_len bigint NOT NULL,
	payload_digest bytea NOT NULL,
	tree_digest bytea NOT NULL,
	envelope_id text COLLATE "C" NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	message_type text COLLATE "C" NOT NULL,
	header bytea NOT NULL, -- JSON text, D-24
	trailer bytea,
	payload bytea, -- NULL: in the blob
	blob bytea,    -- digest of a blob
	PRIMARY KEY (partition, account, container, idx)
);
-- Ciphertext does not shrink, and byte ranges are cut out of it.
ALTER TABLE frame ALTER COLUMN payload SET STORAGE EXTERNAL;
-- Duplicates of messages. idx: the planner, who knows accounts on average only, would otherwise read a whole spool in the order of
-- the primary key, to be spared a sort.
CREATE INDEX frame_envelope ON frame (partition, account, container, envelope_id, idx) WHERE event = 0;

-- The last frame of each UniqueID of a catalog.
CREATE TABLE frame_current (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	container smallint NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	idx bigint NOT NULL,
	event smallint NOT NULL,
	PRIMARY KEY (partition, account, container, unique_id)
) WITH (fillfactor = 80);

-- Payloads that are not in the database: ordered digests of chunks, each an object (partition, account, chunk digest).
CREATE TABLE blob (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	digest bytea NOT NULL,
	length bigint NOT NULL,
	chunks bytea[] NOT NULL,
	created timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (partition, account, digest)
);

-- Two-phase uploads (D-23); key is a digest of (container, EnvelopeID or UniqueID, PayloadDigest).
CREATE TABLE upload_stage (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	key bytea NOT NULL,
	container text COLLATE "C" NOT NULL,
	expires timestamptz NOT NULL,
	envelope_id text COLLATE "C" NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	event smallint NOT NULL,
	message_type text COLLATE "C" NOT NULL,
	header bytea NOT NULL,
	trailer bytea,
	digest_written boolean NOT NULL,
	payload_digest bytea NOT NULL,
	length bigint NOT NULL,
	received bigint NOT NULL,    -- octets so far
	hash_state bytea,            -- of SHA-512 over them
	chunks bytea[] NOT NULL,
	PRIMARY KEY (partition, account, key)
);

-- Status of messages by EnvelopeID over all spools of an account (DATA §8).
CREATE TABLE spool_status (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	envelope_id text COLLATE "C" NOT NULL,
	flags integer NOT NULL,
	idx bigint,
	PRIMARY KEY (partition, account, envelope_id)
);

CREATE TABLE publication (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	id text COLLATE "C" NOT NULL,
	authenticator text NOT NULL,
	frame bigint NOT NULL, -- of mmm_Publication
	not_on_or_after timestamptz,
	guesses integer NOT NULL DEFAULT 0,
	PRIMARY KEY (partition, account, id)
);

CREATE TABLE capability (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	id text COLLATE "C" NOT NULL,
	auth_udf text COLLATE "C" NOT NULL, -- ProfileAccount UDF that may use it (D-36)
	share bytea NOT NULL, -- encrypted to the service
	frame bigint NOT NULL, -- of mmm_Capability
	PRIMARY KEY (partition, account, id)
);

-- What the account says of its contacts, by UniqueID in mmm_Contact: what access control asks of a recipient.
CREATE TABLE contact (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	profile_udf text COLLATE "C" NOT NULL, -- the pin; empty: none
	rights integer NOT NULL,
	addresses text[] COLLATE "C" NOT NULL, -- by which contact_address is cleared
	PRIMARY KEY (partition, account, unique_id)
) WITH (fillfactor = 80);
CREATE INDEX contact_pin ON contact (partition, account, profile_udf) WHERE profile_udf <> '';

CREATE TABLE contact_address (
	partition smallint NOT NULL,
	account bigint NOT NULL,
	address text COLLATE "C" NOT NULL,
	unique_id text COLLATE "C" NOT NULL,
	PRIMARY KEY (partition, account, address, unique_id)
);

-- One row per message and recipient. No update is HOT: state and next_attempt are what the index of due rows is made of. The
-- settled stay, for traces. The dead stand before the living in that index, so they are cleared away early.
CREATE TABLE outbox (
	partition smallint NOT NULL,
	state smallint NOT NULL, -- 1 due, 2 published, 3 delivered, 4 failed
	accepted boolean NOT NULL DEFAULT false, -- the verdict: from here
	code integer NOT NULL DEFAULT 0,
	account bigint NOT NULL, -- of the sender
	frame bigint NOT NULL,   -- of mmm_Outbound
	id uuid NOT NULL,
	attempts integer NOT NULL DEFAULT 0,
	recipient text COLLATE "C" NOT NULL,
	domain text COLLATE "C" NOT NULL, -- destination; empty: local
	waiter text COLLATE "C" NOT NULL,
	created timestamptz NOT NULL,
	next_attempt timestamptz NOT NULL, -- of a published row: the end of the lease
	rule text COLLATE "C" NOT NULL DEFAULT '',
	policy text COLLATE "C" NOT NULL DEFAULT '',
	verdict_at timestamptz,
	PRIMARY KEY (partition, account, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
-- A recipient gets a message once. + 0: the planner, who knows accounts on average only, takes two indexes that begin alike for
-- equal, and would read all rows of an account to find one. So a statement that names partition + 0 and account + 0 can use this
-- one only, and another only the primary key.
CREATE UNIQUE INDEX outbox_once ON outbox ((partition + 0), (account + 0), frame, recipient);
-- Over all partitions, by time: the relay asks which have been due the longest.
CREATE INDEX outbox_due ON outbox (next_attempt) WHERE state < 3;

-- Verdicts on messages for recipients of this shard, by EnvelopeID and sender.
CREATE TABLE delivery (
	partition smallint NOT NULL,
	accepted boolean NOT NULL,
	code integer NOT NULL,
	account bigint NOT NULL, -- of the recipient
	idx bigint NOT NULL,     -- in mmm_Inbound, when accepted
	at timestamptz NOT NULL,
	envelope_id text COLLATE "C" NOT NULL,
	sender_udf text COLLATE "C" NOT NULL,
	sender_address text COLLATE "C" NOT NULL,
	message_type text COLLATE "C" NOT NULL,
	digest bytea NOT NULL, -- of the payload
	rule text COLLATE "C" NOT NULL,
	policy text COLLATE "C" NOT NULL,
	inputs text NOT NULL, -- JSON
	PRIMARY KEY (partition, account, envelope_id, sender_udf)
);
-- The same contents under another EnvelopeID. Few are the senders of one digest: they are told apart by their rows.
CREATE INDEX delivery_digest ON delivery (partition, account, digest) WHERE accepted;

-- Outcomes of requests, at least 15 minutes. slot is the number of a quarter of an hour, ring its remainder by 4: the table of a
-- slot that is over is emptied by TRUNCATE two slots later, never by DELETE. outcome: package rule.
CREATE TABLE request_dedup (
	partition smallint NOT NULL,
	ring smallint NOT NULL,
	slot integer NOT NULL,
	key bytea NOT NULL,
	digest bytea NOT NULL,
	outcome bigint[] NOT NULL,
	PRIMARY KEY (partition, ring, slot, key)
) PARTITION BY LIST (ring);
CREATE TABLE request_dedup_0 PARTITION OF request_dedup FOR VALUES IN (0);
CREATE TABLE request_dedup_1 PARTITION OF request_dedup FOR VALUES IN (1);
CREATE TABLE request_dedup_2 PARTITION OF request_dedup FOR VALUES IN (2);
CREATE TABLE request_dedup_3 PARTITION OF request_dedup FOR VALUES IN (3);

INSERT INTO constant (name, value) VALUES ('partitions', '4096'), ('hash', 'sha256:mesh-partition:12');
