-- The writing verbs: one function each, called in one statement, which is one transaction and one round trip.
--
-- Refusals that precede every write are returned as o_fault, 'MS' and the extended code of the protocol ('MS999': wrong shard),
-- so that hostile requests fill no log of errors; later ones are raised with the same text as SQLSTATE and roll back.
--
-- The functions are VOLATILE under READ COMMITTED: each statement in them has a snapshot of its own. That is what makes the fence
-- and the account's lock count: whatever is read after the statement that took the lock is as the last holder left it.
-- Locks are taken in one order: fence of the partition (shared), account (by its address), row of the partition (creation and deletion only).
-- One account's writers therefore wait for each other, and no two of them can block crosswise, whatever containers they name.

-- +goose Up

-- +goose StatementBegin
-- mesh_recall finds the outcome of a request in the slot now or before: NULL when there is none, {-1} when the identifier was used
-- for another request. It looks into the next slot too: the clock may have been put back over a boundary, by a second or by a
-- failover to another server, and the effect would be doubled. Each slot is a table of its own, named here, since a plan over the parent would lock all four and wait for
-- TRUNCATE. STABLE: it reads by the snapshot of the statement that calls it, which is later than the account's lock.
CREATE FUNCTION mesh_recall(p_partition smallint, p_slot integer, p_key bytea, p_request bytea) RETURNS bigint[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
	v_digest bytea;
	v_outcome bigint[];
BEGIN
	IF p_key IS NULL THEN
		RETURN NULL;
	END IF;
	FOR v_slot IN REVERSE p_slot + 1 .. p_slot - 1 LOOP
		IF v_slot & 3 = 0 THEN
			SELECT r.digest, r.outcome INTO v_digest, v_outcome FROM request_dedup_0 r WHERE r.partition = p_partition AND r.ring = 0 AND r.slot = v_slot AND r.key = p_key;
		ELSIF v_slot & 3 = 1 THEN
			SELECT r.digest, r.outcome INTO v_digest, v_outcome FROM request_dedup_1 r WHERE r.partition = p_partition AND r.ring = 1 AND r.slot = v_slot AND r.key = p_key;
		ELSIF v_slot & 3 = 2 THEN
			SELECT r.digest, r.outcome INTO v_digest, v_outcome FROM request_dedup_2 r WHERE r.partition = p_partition AND r.ring = 2 AND r.slot = v_slot AND r.key = p_key;
		ELSE
			SELECT r.digest, r.outcome INTO v_digest, v_outcome FROM request_dedup_3 r WHERE r.partition = p_partition AND r.ring = 3 AND r.slot = v_slot AND r.key = p_key;
		END IF;
		IF v_digest = p_request THEN
			RETURN v_outcome;
		ELSIF v_digest IS NOT NULL THEN
			RETURN '{-1}';
		END IF;
	END LOOP;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_remember stores an outcome. The account's lock keeps duplicates of a request apart; the key can be there all the same when
-- one identifier is used for requests about two accounts at once.
CREATE FUNCTION mesh_remember(p_partition smallint, p_slot integer, p_key bytea, p_digest bytea, p_outcome bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	v_ring smallint := p_slot & 3;
BEGIN
	IF p_key IS NULL THEN
		RETURN;
	ELSIF v_ring = 0 THEN
		INSERT INTO request_dedup_0 (partition, ring, slot, key, digest, outcome) VALUES (p_partition, 0, p_slot, p_key, p_digest, p_outcome) ON CONFLICT DO NOTHING;
	ELSIF v_ring = 1 THEN
		INSERT INTO request_dedup_1 (partition, ring, slot, key, digest, outcome) VALUES (p_partition, 1, p_slot, p_key, p_digest, p_outcome) ON CONFLICT DO NOTHING;
	ELSIF v_ring = 2 THEN
		INSERT INTO request_dedup_2 (partition, ring, slot, key, digest, outcome) VALUES (p_partition, 2, p_slot, p_key, p_digest, p_outcome) ON CONFLICT DO NOTHING;
	ELSE
		INSERT INTO request_dedup_3 (partition, ring, slot, key, digest, outcome) VALUES (p_partition, 3, p_slot, p_key, p_digest, p_outcome) ON CONFLICT DO NOTHING;
	END IF;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'request identifier in use' USING ERRCODE = 'MS021';
	END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_sweep empties the table of the slot before last, if nobody is in it for long: it is tried again in some minutes.
CREATE FUNCTION mesh_sweep(p_slot integer) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
	v_table regclass := format('request_dedup_%s', (p_slot + 2) & 3)::regclass;
	v_full boolean;
BEGIN
	EXECUTE format('SELECT EXISTS (SELECT FROM %s)', v_table) INTO v_full;
	IF v_full THEN
		EXECUTE format('TRUNCATE %s', v_table);
	END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_slot is the quarter of an hour now. In SQL, so that it becomes part of the expression that calls it.
CREATE FUNCTION mesh_slot() RETURNS integer
LANGUAGE sql AS $$
	SELECT floor(extract(epoch FROM clock_timestamp()) / 900)::integer
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_epoch is the detail of a wrong shard: the newest epoch of the map that the partition has seen, or any, when it has no row.
CREATE FUNCTION mesh_epoch(p_partition smallint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN coalesce((SELECT p.epoch FROM partition p WHERE p.partition = p_partition), (SELECT max(p.epoch) FROM partition p), 0)::text;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_enter takes the locks and does the checks that the writing verbs of an account have in common. A tombstone is entered by
-- deletion only (p_tombstone).
CREATE FUNCTION mesh_enter(p_partition smallint, p_address text, p_profile text, p_epoch bigint, p_kid text, p_tombstone boolean,
	OUT o_fault text, OUT o_detail text, OUT o_account bigint, OUT o_state smallint, OUT o_rights integer)
LANGUAGE plpgsql AS $$
DECLARE
	v_partition smallint;
	v_epoch bigint;
	v_profile text;
	v_creator text;
BEGIN
	PERFORM pg_advisory_xact_lock_shared(p_partition::bigint), pg_advisory_xact_lock(p_partition::integer, hashtext(p_address));
	SELECT p.state, a.account, a.state, a.epoch, a.profile_udf, a.redirect, a.creator_kid, d.rights
		INTO v_partition, o_account, o_state, v_epoch, v_profile, o_detail, v_creator, o_rights
		FROM partition p
		LEFT JOIN account a ON a.partition = p.partition AND a.address = p_address
		LEFT JOIN device_auth k ON k.partition = a.partition AND k.account = a.account AND k.kid = p_kid
		LEFT JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id AND NOT d.removed
		WHERE p.partition = p_partition;
	IF v_partition IS NULL OR v_partition = 3 THEN
		o_fault := 'MS999';
		o_detail := mesh_epoch(p_partition);
	ELSIF v_partition <> 1 THEN
		o_fault := 'MS031';
	ELSIF o_account IS NULL OR (o_state = 4 AND NOT p_tombstone) THEN
		o_fault := 'MS003';
	ELSIF o_state = 1 THEN
		o_fault := 'MS005';
	ELSIF o_detail <> '' THEN
		o_fault := 'MS020';
	ELSIF o_state = 3 OR (p_profile <> '' AND p_profile <> v_profile) THEN
		o_fault := 'MS008';
	ELSIF p_epoch <> 0 AND p_epoch <> v_epoch AND o_state <> 4 THEN
		o_fault := 'MS009';
	ELSIF o_rights IS NULL THEN
		-- The creating device has every right while mmm_Device has no entry.
		IF p_kid <> '' AND p_kid = v_creator AND NOT EXISTS (SELECT FROM container c
				WHERE c.partition = p_partition AND c.account = o_account AND c.name = 'mmm_Device' AND c.frames > 1) THEN
			o_rights := 511;
		ELSE
			o_fault := 'MS008';
		END IF;
	END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_peaks appends a frame to a Merkle tree (D-43): the peaks that stand for the trailing one bits of the frame count are merged.
CREATE FUNCTION mesh_peaks(p_peaks bytea, p_frames bigint, p_digest bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	v_acc bytea := p_digest;
	v_k integer := length(p_peaks) / 64;
	v_n bigint := p_frames + 1;
BEGIN
	WHILE v_n % 2 = 0 LOOP
		v_acc := sha512(substr(p_peaks, v_k * 64 - 63, 64) || v_acc);
		v_k := v_k - 1;
		v_n := v_n / 2;
	END LOOP;
	RETURN substr(p_peaks, 1, v_k * 64) || sha512(CASE
		WHEN v_k > 0 THEN substr(p_peaks, v_k * 64 - 63, 64)
		WHEN p_frames > 0 THEN substr(p_peaks, 1, 64) -- a full tree: its larger half
		ELSE decode(repeat('00', 64), 'hex') END || v_acc);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_append stores one update, whose entries have no faults, in a container: the index of each entry, or NULL and nothing
-- stored when it is in conflict. p_how: 0 an update, 1 Self, 2 an entry of the service's own, 3 frame 0 of a new container, 4 a
-- message that was delivered: whether it is a duplicate was asked before.
-- p_zero: the first entry is a frame 0. The arrays are positional; in a spool, and of a frame 0, e_event is 0.
CREATE FUNCTION mesh_append(p_partition smallint, p_account bigint, p_name text, p_how smallint, p_index bigint, p_digest bytea, p_zero boolean,
	e_envelope text[], e_unique text[], e_event smallint[], e_type text[], e_written boolean[],
	e_digest bytea[], e_header bytea[], e_trailer bytea[], e_payload bytea[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
	v_spool constant boolean := p_name IN ('mmm_Inbound', 'mmm_Outbound', 'mmm_Local', 'mmm_Archive', 'mmms_Incident');
	v_count constant integer := cardinality(e_digest);
	v_received timestamptz := date_trunc('second', clock_timestamp());
	v_container smallint;
	v_frames bigint := 0;
	v_peaks bytea := '';
	v_absent boolean;
	v_first integer := 1; -- entry to be stored
	v_keyed integer := 1; -- entry that is one of a catalog
	v_event smallint;
	v_duplicates bigint[];
	v_likes bigint[];
	v_indices bigint[] := '{}';
	v_trees bytea[] := '{}';
	v_digest bytea;
	v_n bigint;
	v_i integer := 0;
BEGIN
	SELECT c.container, c.frames, c.peaks INTO v_container, v_frames, v_peaks
		FROM container c WHERE c.partition = p_partition AND c.account = p_account AND c.name = p_name;
	v_absent := NOT FOUND;
	IF v_absent THEN
		v_frames := 0;
		v_peaks := '';
	END IF;
	IF p_index <> v_frames OR p_digest <> substr(v_peaks, greatest(length(v_peaks) - 63, 1)) THEN
		RETURN NULL;
	END IF;
	IF v_count = 0 AND (p_how <> 3 OR NOT v_absent) THEN
		RETURN v_indices;
	END IF;

	IF p_zero AND NOT v_absent THEN
		PERFORM FROM frame f WHERE f.partition = p_partition AND f.account = p_account AND f.container = v_container AND f.idx = 0
			AND f.header = e_header[1] AND f.trailer IS NOT DISTINCT FROM e_trailer[1] AND f.payload_digest = e_digest[1];
		IF NOT FOUND THEN
			RETURN NULL;
		END IF;
		v_first := 2;
	END IF;
	IF p_zero THEN
		v_keyed := 2;
	END IF;

	-- The state machine (New Update* Delete)*: what never was counts as deleted.
	IF p_how = 0 AND NOT v_spool AND v_keyed = v_count THEN
		SELECT c.event INTO v_event FROM frame_current c
			WHERE c.partition = p_partition AND c.account = p_account AND c.container = v_container AND c.unique_id = e_unique[v_keyed];
		IF (e_event[v_keyed] = 1 AND v_event <> 3) OR (e_event[v_keyed] = 3 AND coalesce(v_event, 3) = 3) THEN
			RETURN NULL;
		END IF;
	ELSIF p_how = 0 AND NOT v_spool AND v_keyed < v_count THEN
		PERFORM FROM (
			SELECT e.event, coalesce(lag(e.event) OVER (PARTITION BY e.unique_id ORDER BY e.n), c.event, 3) AS before
			FROM unnest(e_unique, e_event) WITH ORDINALITY AS e(unique_id, event, n)
			LEFT JOIN frame_current c ON c.partition = p_partition AND c.account = p_account AND c.container = v_container AND c.unique_id = e.unique_id
			WHERE e.n >= v_keyed) x
			WHERE (x.event = 1 AND x.before <> 3) OR (x.event = 3 AND x.before = 3);
		IF FOUND THEN
			RETURN NULL;
		END IF;
	END IF;

	IF v_absent THEN
		SELECT coalesce(max(c.container), 0) + 1 INTO v_container FROM container c WHERE c.partition = p_partition AND c.account = p_account;
		IF v_container > 1000 THEN
			RAISE EXCEPTION 'too many containers' USING ERRCODE = 'MS023';
		END IF;
	ELSIF v_spool AND p_how <> 4 THEN
		-- Messages that are here already, by EnvelopeID and PayloadDigest.
		IF v_count = 1 THEN
			SELECT ARRAY[f.idx] INTO v_duplicates FROM frame f
				WHERE f.partition = p_partition AND f.account = p_account AND f.container = v_container AND f.event = 0
				AND f.envelope_id = e_envelope[1] AND f.envelope_id <> '' AND f.payload_digest = e_digest[1] ORDER BY f.idx LIMIT 1;
		ELSE
			SELECT array_agg(f.idx ORDER BY e.n) INTO v_duplicates FROM unnest(e_envelope, e_digest) WITH ORDINALITY AS e(envelope_id, digest, n)
				LEFT JOIN LATERAL (SELECT f.idx FROM frame f
					WHERE f.partition = p_partition AND f.account = p_account AND f.container = v_container AND f.event = 0
					AND f.envelope_id = e.envelope_id AND e.envelope_id <> '' AND f.payload_digest = e.digest ORDER BY f.idx LIMIT 1) f ON true;
		END IF;
	END IF;
	IF v_spool AND v_count > 1 THEN -- and those that are twice in this update: the first of its like
		SELECT array_agg(CASE WHEN x.envelope_id <> '' THEN x.first END ORDER BY x.n) INTO v_likes FROM (
			SELECT e.envelope_id, e.n, min(e.n) OVER (PARTITION BY e.envelope_id, e.digest) AS first
			FROM unnest(e_envelope, e_digest) WITH ORDINALITY AS e(envelope_id, digest, n)) x;
	END IF;

	IF v_absent AND NOT p_zero THEN
		v_digest := sha512('');
		v_peaks := sha512(decode(repeat('00', 64), 'hex') || v_digest);
		v_frames := 1;
		INSERT INTO frame (partition, account, container, idx, envelope_id, unique_id, event, message_type, received, own,
			payload_len, payload_digest, digest_written, tree_digest, header, payload)
			VALUES (p_partition, p_account, v_container, 0, '', '', 0, '', v_received, true, 0, v_digest, false, v_peaks, '{}', '');
	END IF;

	-- Indices and tree digests.
	FOREACH v_digest IN ARRAY e_digest LOOP
		v_i := v_i + 1;
		v_n := NULL;
		IF v_i < v_first THEN
			v_n := 0;
		ELSIF v_duplicates[v_i] IS NOT NULL THEN
			v_n := v_duplicates[v_i];
		ELSIF v_likes[v_i] < v_i THEN
			v_n := v_indices[v_likes[v_i]];
		END IF;
		v_indices[v_i] := coalesce(v_n, v_frames);
		IF v_n IS NOT NULL THEN
			v_trees[v_i] := NULL;
			CONTINUE;
		END IF;
		v_peaks := mesh_peaks(v_peaks, v_frames, v_digest);
		v_trees[v_i] := substr(v_peaks, length(v_peaks) - 63);
		v_frames := v_frames + 1;
	END LOOP;

	IF v_count = 1 THEN
		IF v_trees[1] IS NOT NULL THEN
			INSERT INTO frame (partition, account, container, idx, envelope_id, unique_id, event, message_type, received, own,
				payload_len, payload_digest, digest_written, tree_digest, header, trailer, payload)
				VALUES (p_partition, p_account, v_container, v_indices[1], e_envelope[1], e_unique[1], e_event[1], e_type[1], v_received, false,
				length(e_payload[1]), e_digest[1], e_written[1], v_trees[1], e_header[1], e_trailer[1], e_payload[1]);
		END IF;
	ELSE
		INSERT INTO frame (partition, account, container, idx, envelope_id, unique_id, event, message_type, received, own,
			payload_len, payload_digest, digest_written, tree_digest, header, trailer, payload)
			SELECT p_partition, p_account, v_container, e.idx, e.envelope_id, e.unique_id, e.event, e.type, v_received, false,
			length(e.payload), e.digest, e.written, e.tree, e.header, e.trailer, e.payload
			FROM unnest(v_indices, v_trees, e_envelope, e_unique, e_event, e_type, e_written, e_digest, e_header, e_trailer, e_payload)
			AS e(idx, tree, envelope_id, unique_id, event, type, written, digest, header, trailer, payload)
			WHERE e.tree IS NOT NULL;
	END IF;
	IF v_spool THEN
		NULL;
	ELSIF v_keyed = v_count THEN
		INSERT INTO frame_current AS c (partition, account, container, unique_id, idx, event)
			VALUES (p_partition, p_account, v_container, e_unique[v_keyed], v_indices[v_keyed], e_event[v_keyed])
			ON CONFLICT (partition, account, container, unique_id) DO UPDATE SET idx = excluded.idx, event = excluded.event;
	ELSIF v_keyed < v_count THEN
		INSERT INTO frame_current AS c (partition, account, container, unique_id, idx, event)
			SELECT DISTINCT ON (e.unique_id) p_partition, p_account, v_container, e.unique_id, e.idx, e.event
			FROM unnest(v_indices, e_unique, e_event) WITH ORDINALITY AS e(idx, unique_id, event, n)
			WHERE e.n >= v_keyed ORDER BY e.unique_id, e.n DESC
			ON CONFLICT (partition, account, container, unique_id) DO UPDATE SET idx = excluded.idx, event = excluded.event;
	END IF;
	IF v_absent THEN
		INSERT INTO container (partition, account, container, name, frames, peaks)
			VALUES (p_partition, p_account, v_container, p_name, v_frames, v_peaks);
	ELSE
		UPDATE container c SET frames = v_frames, peaks = v_peaks
			WHERE c.partition = p_partition AND c.account = p_account AND c.container = v_container;
	END IF;
	RETURN v_indices;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_device carries an entry of mmm_Device into the device tables.
CREATE FUNCTION mesh_device(p_partition smallint, p_account bigint, p_unique text, p_event smallint, p_frame bigint, p_read boolean,
	p_udf text, p_auth text, p_mesh text, p_sign text, p_curve text, p_key bytea, p_connection bytea, p_rights integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	IF p_event = 3 OR NOT p_read THEN
		DELETE FROM device_auth k WHERE k.partition = p_partition AND k.account = p_account AND k.unique_id = p_unique;
	END IF;
	IF p_event = 3 THEN
		UPDATE device d SET removed = true, rights = 0, frame = p_frame
			WHERE d.partition = p_partition AND d.account = p_account AND d.unique_id = p_unique;
		RETURN;
	END IF;
	INSERT INTO device (partition, account, unique_id, device_udf, rights, connection_digest, frame, removed)
		VALUES (p_partition, p_account, p_unique, coalesce(p_udf, ''), coalesce(p_rights, 0), p_connection, p_frame, false)
		ON CONFLICT (partition, account, unique_id) DO UPDATE SET device_udf = excluded.device_udf, rights = excluded.rights,
		connection_digest = excluded.connection_digest, frame = excluded.frame, removed = false;
	INSERT INTO device_auth (partition, account, kid, unique_id)
		SELECT DISTINCT p_partition, p_account, kid, p_unique FROM unnest(ARRAY[p_auth, p_mesh]) kid WHERE kid <> ''
		ON CONFLICT (partition, account, kid) DO UPDATE SET unique_id = excluded.unique_id;
	IF p_sign <> '' THEN
		INSERT INTO device_sign (partition, account, kid, unique_id, curve, key)
			VALUES (p_partition, p_account, p_sign, p_unique, p_curve, p_key)
			ON CONFLICT (partition, account, kid) DO UPDATE SET unique_id = excluded.unique_id;
	END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_contact carries an entry of mmm_Contact into the contact tables.
CREATE FUNCTION mesh_contact(p_partition smallint, p_account bigint, p_unique text, p_event smallint, p_read boolean,
	p_udf text, p_rights integer, p_addresses text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM contact_address x WHERE x.partition = p_partition AND x.account = p_account AND x.unique_id = p_unique
		AND x.address = ANY ((SELECT c.addresses FROM contact c WHERE c.partition = p_partition AND c.account = p_account AND c.unique_id = p_unique)::text[]);
	IF p_event = 3 OR NOT p_read THEN
		DELETE FROM contact c WHERE c.partition = p_partition AND c.account = p_account AND c.unique_id = p_unique;
		RETURN;
	END IF;
	INSERT INTO contact_address (partition, account, address, unique_id)
		SELECT p_partition, p_account, address, p_unique FROM unnest(p_addresses) address WHERE address <> '' ON CONFLICT DO NOTHING;
	INSERT INTO contact (partition, account, unique_id, profile_udf, rights, addresses) VALUES (p_partition, p_account, p_unique, p_udf, p_rights, p_addresses)
		ON CONFLICT (partition, account, unique_id) DO UPDATE SET profile_udf = excluded.profile_udf, rights = excluded.rights, addresses = excluded.addresses;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_store stores updates in name order, and tells the fate of each entry: its index, or -1 less the extended code of its fault,
-- -1 for conflict. If p_atomic it raises MS021 at the first update in conflict. u_how as in mesh_append; updates of Self (1) come
-- last, by the caller's order. u_skip: it has a fault. d_entry, c_entry: which entry (from 1) a change of
-- device or contact belongs to; c_end: where its addresses end in c_address.
CREATE FUNCTION mesh_store(p_partition smallint, p_account bigint, p_atomic boolean,
	u_container text[], u_how smallint[], u_index bigint[], u_digest bytea[], u_zero boolean[], u_skip boolean[], u_count integer[],
	e_fault integer[], e_envelope text[], e_unique text[], e_event smallint[], e_type text[], e_written boolean[],
	e_digest bytea[], e_header bytea[], e_trailer bytea[], e_payload bytea[],
	d_entry integer[], d_udf text[], d_auth text[], d_mesh text[], d_sign text[], d_curve text[], d_key bytea[], d_connection bytea[], d_rights integer[],
	c_entry integer[], c_udf text[], c_rights integer[], c_end integer[], c_address text[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
	v_updates constant integer := cardinality(u_container);
	v_fates bigint[] := '{}';
	v_indices bigint[];
	v_fault integer;
	v_part record;
	v_d integer; -- number of a device or contact
BEGIN
	IF v_updates = 1 AND NOT u_skip[1] THEN -- the usual case, without copies
		v_fates := mesh_append(p_partition, p_account, u_container[1], u_how[1], u_index[1], u_digest[1], u_zero[1],
			e_envelope, e_unique, e_event, e_type, e_written, e_digest, e_header, e_trailer, e_payload);
		IF v_fates IS NULL AND p_atomic THEN
			RAISE EXCEPTION 'conflict' USING ERRCODE = 'MS021';
		ELSIF v_fates IS NULL THEN
			RETURN array_fill(-1::bigint, ARRAY[u_count[1]]);
		ELSIF u_container[1] NOT IN ('mmm_Device', 'mmm_Contact') THEN
			RETURN v_fates;
		END IF;
	ELSE
		FOREACH v_fault IN ARRAY e_fault LOOP
			v_fates := array_append(v_fates, (-1 - v_fault)::bigint);
		END LOOP;
	END IF;
	FOR v_part IN
		SELECT x.n, x.base, x.container FROM (
			SELECT u.n, u.container, u.how, sum(u.count) OVER (ORDER BY u.n)::integer - u.count AS base
			FROM unnest(u_container, u_how, u_count) WITH ORDINALITY AS u(container, how, count, n)) x
		ORDER BY x.how, x.container COLLATE "C", x.n
	LOOP
		CONTINUE WHEN u_skip[v_part.n];
		IF v_updates = 1 THEN
			v_indices := v_fates;
		ELSE
			v_indices := mesh_append(p_partition, p_account, v_part.container, u_how[v_part.n], u_index[v_part.n], u_digest[v_part.n], u_zero[v_part.n],
				e_envelope[v_part.base + 1 : v_part.base + u_count[v_part.n]], e_unique[v_part.base + 1 : v_part.base + u_count[v_part.n]],
				e_event[v_part.base + 1 : v_part.base + u_count[v_part.n]], e_type[v_part.base + 1 : v_part.base + u_count[v_part.n]],
				e_written[v_part.base + 1 : v_part.base + u_count[v_part.n]], e_digest[v_part.base + 1 : v_part.base + u_count[v_part.n]],
				e_header[v_part.base + 1 : v_part.base + u_count[v_part.n]], e_trailer[v_part.base + 1 : v_part.base + u_count[v_part.n]],
				e_payload[v_part.base + 1 : v_part.base + u_count[v_part.n]]);
			IF v_indices IS NULL THEN
				IF p_atomic THEN
					RAISE EXCEPTION 'conflict' USING ERRCODE = 'MS021';
				END IF;
				CONTINUE;
			END IF;
			FOR i IN 1 .. cardinality(v_indices) LOOP
				v_fates[v_part.base + i] := v_indices[i];
			END LOOP;
		END IF;
		IF v_part.container = 'mmm_Device' THEN
			FOR i IN 1 .. cardinality(v_indices) LOOP
				CONTINUE WHEN e_unique[v_part.base + i] = '';
				v_d := array_position(d_entry, v_part.base + i);
				PERFORM mesh_device(p_partition, p_account, e_unique[v_part.base + i], e_event[v_part.base + i], v_indices[i], v_d IS NOT NULL,
					d_udf[v_d], d_auth[v_d], d_mesh[v_d], d_sign[v_d], d_curve[v_d], d_key[v_d], d_connection[v_d], d_rights[v_d]);
			END LOOP;
		ELSIF v_part.container = 'mmm_Contact' THEN
			FOR i IN 1 .. cardinality(v_indices) LOOP
				CONTINUE WHEN e_unique[v_part.base + i] = '';
				v_d := array_position(c_entry, v_part.base + i);
				PERFORM mesh_contact(p_partition, p_account, e_unique[v_part.base + i], e_event[v_part.base + i], v_d IS NOT NULL,
					c_udf[v_d], c_rights[v_d], c_address[coalesce(c_end[v_d - 1], 0) + 1 : c_end[v_d]]);
			END LOOP;
		END IF;
	END LOOP;
	RETURN v_fates;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_pack puts fates into runs of outcome, code, first index, count (package rule).
CREATE FUNCTION mesh_pack(p_fates bigint[]) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	v_runs bigint[] := '{}';
	v_fate bigint;
	v_at integer := 0; -- where the last run begins, less one
BEGIN
	FOREACH v_fate IN ARRAY p_fates LOOP
		IF cardinality(v_runs) > 0 AND (
				v_fate >= 0 AND v_runs[v_at + 1] = 1 AND v_runs[v_at + 3] + v_runs[v_at + 4] = v_fate
				OR v_fate < 0 AND v_runs[v_at + 1] > 1 AND v_runs[v_at + 2] = -1 - v_fate) THEN
			v_runs[v_at + 4] := v_runs[v_at + 4] + 1;
		ELSE
			v_at := cardinality(v_runs);
			v_runs := v_runs || CASE
				WHEN v_fate >= 0 THEN ARRAY[1, 0, v_fate, 1]
				WHEN v_fate = -1 THEN ARRAY[3, 0, 0, 1]::bigint[]
				ELSE ARRAY[2, -1 - v_fate, 0, 1] END;
		END IF;
	END LOOP;
	RETURN v_runs;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_apply is Upload. p_rights: all rights that it needs.
CREATE FUNCTION mesh_apply(p_partition smallint, p_address text, p_profile text, p_epoch bigint, p_kid text, p_key bytea, p_request bytea,
	p_rights integer, p_atomic boolean,
	u_container text[], u_how smallint[], u_index bigint[], u_digest bytea[], u_zero boolean[], u_skip boolean[], u_count integer[],
	e_fault integer[], e_envelope text[], e_unique text[], e_event smallint[], e_type text[], e_written boolean[],
	e_digest bytea[], e_header bytea[], e_trailer bytea[], e_payload bytea[],
	d_entry integer[], d_udf text[], d_auth text[], d_mesh text[], d_sign text[], d_curve text[], d_key bytea[], d_connection bytea[], d_rights integer[],
	c_entry integer[], c_udf text[], c_rights integer[], c_end integer[], c_address text[],
	OUT o_fault text, OUT o_detail text, OUT o_outcome bigint[])
LANGUAGE plpgsql AS $$
DECLARE
	v_in record;
	v_slot integer;
	v_fates bigint[];
BEGIN
	v_in := mesh_enter(p_partition, p_address, p_profile, p_epoch, p_kid, false);
	IF v_in.o_fault IS NOT NULL THEN
		o_fault := v_in.o_fault;
		o_detail := v_in.o_detail;
		RETURN;
	ELSIF v_in.o_rights & p_rights <> p_rights THEN
		o_fault := 'MS008';
		RETURN;
	END IF;
	v_slot := mesh_slot();
	o_outcome := mesh_recall(p_partition, v_slot, p_key, p_request);
	IF o_outcome[1] = -1 THEN
		o_fault := 'MS021';
	END IF;
	IF o_outcome IS NOT NULL THEN
		RETURN;
	END IF;

	IF p_atomic AND array_position(u_skip, true) IS NOT NULL THEN -- a fault: nothing is stored
		SELECT array_agg((-1 - f)::bigint ORDER BY n) INTO v_fates FROM unnest(e_fault) WITH ORDINALITY AS e(f, n);
	ELSIF p_atomic AND cardinality(u_container) > 1 THEN
		BEGIN
			v_fates := mesh_store(p_partition, v_in.o_account, true, u_container, u_how, u_index, u_digest, u_zero, u_skip, u_count,
				e_fault, e_envelope, e_unique, e_event, e_type, e_written, e_digest, e_header, e_trailer, e_payload,
				d_entry, d_udf, d_auth, d_mesh, d_sign, d_curve, d_key, d_connection, d_rights, c_entry, c_udf, c_rights, c_end, c_address);
		EXCEPTION WHEN SQLSTATE 'MS021' THEN
			v_fates := array_fill(-1::bigint, ARRAY[cardinality(e_fault)]);
		END;
	ELSE -- one update is whole or not at all in any case
		v_fates := mesh_store(p_partition, v_in.o_account, false, u_container, u_how, u_index, u_digest, u_zero, u_skip, u_count,
			e_fault, e_envelope, e_unique, e_event, e_type, e_written, e_digest, e_header, e_trailer, e_payload,
			d_entry, d_udf, d_auth, d_mesh, d_sign, d_curve, d_key, d_connection, d_rights, c_entry, c_udf, c_rights, c_end, c_address);
	END IF;
	o_outcome := mesh_pack(v_fates);
	PERFORM mesh_remember(p_partition, v_slot, p_key, p_request, o_outcome);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_apply_one is mesh_apply for one entry without a fault, which is most Uploads: the arrays and the calls of the general way take
-- a third of its time. Where nothing is out of the ordinary (an entry of a catalog that exists, not of mmm_Device or mmm_Contact, nothing to
-- refuse, not a request that was seen) it is stored here; all else is left to mesh_apply, which has the rules. The joins are outer
-- ones, so that they stay in their order, and v_good is no condition of them, which would make inner ones of them.
CREATE FUNCTION mesh_apply_one(p_partition smallint, p_address text, p_profile text, p_epoch bigint, p_kid text, p_key bytea, p_request bytea,
	p_rights integer, p_atomic boolean,
	u_container text, u_how smallint, u_index bigint, u_digest bytea, u_zero boolean,
	e_envelope text, e_unique text, e_event smallint, e_type text, e_written boolean, e_digest bytea, e_header bytea, e_trailer bytea, e_payload bytea,
	OUT o_fault text, OUT o_detail text, OUT o_outcome bigint[])
LANGUAGE plpgsql AS $$
DECLARE
	v_slot integer;
	v_good boolean;
	v_account bigint;
	v_container smallint;
	v_frames bigint;
	v_peaks bytea;
	v_event smallint;
BEGIN
	IF e_event <> 0 AND u_container NOT IN ('mmm_Device', 'mmm_Contact') THEN
		-- As in mesh_enter. In an expression, which is evaluated without the executor and has a snapshot of its own all the same.
		IF pg_advisory_xact_lock_shared(p_partition::bigint) IS NULL OR pg_advisory_xact_lock(p_partition::integer, hashtext(p_address)) IS NULL THEN
			NULL;
		END IF;
		SELECT a.account, c.container, c.frames, c.peaks, f.event,
			p.state = 1 AND a.state = 2 AND a.redirect = '' AND p_profile IN ('', a.profile_udf) AND p_epoch IN (0, a.epoch)
			AND d.rights & p_rights = p_rights AND coalesce(u_index = c.frames, c.frames > 0)
			AND coalesce(u_digest = substr(c.peaks, length(c.peaks) - 63), true)
			AND CASE e_event WHEN 1 THEN coalesce(f.event, 3) = 3 WHEN 3 THEN f.event <> 3 ELSE true END
			INTO v_account, v_container, v_frames, v_peaks, v_event, v_good
			FROM partition p
			LEFT JOIN account a ON a.partition = p.partition AND a.address = p_address
			LEFT JOIN device_auth k ON k.partition = a.partition AND k.account = a.account AND k.kid = p_kid
			LEFT JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id AND NOT d.removed
			LEFT JOIN container c ON c.partition = a.partition AND c.account = a.account AND c.name = u_container
			LEFT JOIN frame_current f ON f.partition = c.partition AND f.account = c.account AND f.container = c.container AND f.unique_id = e_unique
			WHERE p.partition = p_partition;
		v_slot := mesh_slot();
		IF v_good AND mesh_recall(p_partition, v_slot, p_key, p_request) IS NULL THEN
			v_peaks := mesh_peaks(v_peaks, v_frames, e_digest);
			INSERT INTO frame (partition, account, container, idx, envelope_id, unique_id, event, message_type, received, own,
				payload_len, payload_digest, digest_written, tree_digest, header, trailer, payload)
				VALUES (p_partition, v_account, v_container, v_frames, e_envelope, e_unique, e_event, e_type, date_trunc('second', clock_timestamp()), false,
				length(e_payload), e_digest, e_written, substr(v_peaks, length(v_peaks) - 63), e_header, e_trailer, e_payload);
			IF v_event IS NULL THEN
				INSERT INTO frame_current (partition, account, container, unique_id, idx, event)
					VALUES (p_partition, v_account, v_container, e_unique, v_frames, e_event);
			ELSE
				UPDATE frame_current c SET idx = v_frames, event = e_event
					WHERE c.partition = p_partition AND c.account = v_account AND c.container = v_container AND c.unique_id = e_unique;
			END IF;
			UPDATE container c SET frames = v_frames + 1, peaks = v_peaks
				WHERE c.partition = p_partition AND c.account = v_account AND c.container = v_container;
			o_outcome := ARRAY[1, 0, v_frames, 1];
			PERFORM mesh_remember(p_partition, v_slot, p_key, p_request, o_outcome);
			RETURN;
		END IF;
	END IF;
	SELECT a.o_fault, a.o_detail, a.o_outcome INTO o_fault, o_detail, o_outcome
		FROM mesh_apply(p_partition, p_address, p_profile, p_epoch, p_kid, p_key, p_request, p_rights, p_atomic,
		ARRAY[u_container], ARRAY[u_how], ARRAY[u_index], ARRAY[u_digest], ARRAY[u_zero], ARRAY[false], ARRAY[1], ARRAY[0],
		ARRAY[e_envelope], ARRAY[e_unique], ARRAY[e_event], ARRAY[e_type], ARRAY[e_written],
		ARRAY[e_digest], ARRAY[e_header], ARRAY[e_trailer], ARRAY[e_payload], '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}') a;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_delete makes a tombstone. a_…: the entry of mmms_Account.
CREATE FUNCTION mesh_delete(p_partition smallint, p_address text, p_profile text, p_epoch bigint, p_kid text, p_key bytea, p_request bytea,
	a_envelope text, a_unique text, a_event smallint, a_type text, a_written boolean, a_digest bytea, a_header bytea, a_trailer bytea, a_payload bytea,
	OUT o_fault text, OUT o_detail text)
LANGUAGE plpgsql AS $$
DECLARE
	v_in record;
	v_slot integer;
	v_outcome bigint[];
BEGIN
	v_in := mesh_enter(p_partition, p_address, p_profile, p_epoch, p_kid, true);
	IF v_in.o_fault IS NOT NULL THEN
		o_fault := v_in.o_fault;
		o_detail := v_in.o_detail;
		RETURN;
	ELSIF v_in.o_rights & 1 = 0 THEN
		o_fault := 'MS008';
		RETURN;
	END IF;
	v_slot := mesh_slot();
	v_outcome := mesh_recall(p_partition, v_slot, p_key, p_request);
	IF v_outcome[1] = -1 THEN
		o_fault := 'MS021';
	END IF;
	IF v_outcome IS NOT NULL THEN
		RETURN;
	END IF;
	UPDATE account a SET state = 4, epoch = a.epoch + 1, deleted = clock_timestamp()
		WHERE a.partition = p_partition AND a.account = v_in.o_account AND a.state <> 4;
	IF FOUND THEN
		PERFORM FROM partition p WHERE p.partition = p_partition FOR NO KEY UPDATE; -- one writer of mmms_Account
		PERFORM mesh_append(p_partition, 0, 'mmms_Account', 2::smallint, NULL, NULL, false, ARRAY[a_envelope], ARRAY[a_unique], ARRAY[a_event],
			ARRAY[a_type], ARRAY[a_written], ARRAY[a_digest], ARRAY[a_header], ARRAY[a_trailer], ARRAY[a_payload]);
	END IF;
	PERFORM mesh_remember(p_partition, v_slot, p_key, p_request, '{}');
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_create binds an address. a_…: the entry of mmms_Account. o_outcome of a new account: 1, state, epoch, runs; of one that was
-- there: 0, state, epoch.
CREATE FUNCTION mesh_create(p_partition smallint, p_address text, p_profile text, p_mesh text, p_updated timestamptz,
	p_profile_mesh bytea, p_profile_account bytea, p_state smallint, p_redirect text, p_fresh boolean, p_only_existing boolean,
	p_epoch bigint, p_kid text, p_key bytea, p_request bytea,
	a_envelope text, a_unique text, a_event smallint, a_type text, a_written boolean, a_digest bytea, a_header bytea, a_trailer bytea, a_payload bytea,
	u_container text[], u_how smallint[], u_index bigint[], u_digest bytea[], u_zero boolean[], u_skip boolean[], u_count integer[],
	e_fault integer[], e_envelope text[], e_unique text[], e_event smallint[], e_type text[], e_written boolean[],
	e_digest bytea[], e_header bytea[], e_trailer bytea[], e_payload bytea[],
	d_entry integer[], d_udf text[], d_auth text[], d_mesh text[], d_sign text[], d_curve text[], d_key bytea[], d_connection bytea[], d_rights integer[],
	c_entry integer[], c_udf text[], c_rights integer[], c_end integer[], c_address text[],
	OUT o_fault text, OUT o_detail text, OUT o_outcome bigint[])
LANGUAGE plpgsql AS $$
DECLARE
	v_partition smallint;
	v_slot integer;
	v_account record;
	v_number bigint;
	v_rights integer;
	v_fault integer;
BEGIN
	PERFORM pg_advisory_xact_lock_shared(p_partition::bigint);
	PERFORM pg_advisory_xact_lock(p_partition::integer, hashtext(p_address));
	SELECT p.state INTO v_partition FROM partition p WHERE p.partition = p_partition;
	IF v_partition IS NULL OR v_partition = 3 THEN
		o_fault := 'MS999';
		o_detail := mesh_epoch(p_partition);
		RETURN;
	ELSIF v_partition <> 1 THEN
		o_fault := 'MS031';
		RETURN;
	END IF;
	v_slot := mesh_slot();
	o_outcome := mesh_recall(p_partition, v_slot, p_key, p_request);
	IF o_outcome[1] = -1 THEN
		o_fault := 'MS021';
	END IF;
	IF o_outcome IS NOT NULL THEN
		RETURN;
	END IF;

	SELECT a.account, a.state, a.epoch, a.profile_udf, a.mesh_udf, a.profile_updated, a.creator_kid INTO v_account
		FROM account a WHERE a.partition = p_partition AND a.address = p_address;
	IF FOUND THEN
		IF v_account.state = 4 OR v_account.profile_udf <> p_profile THEN
			o_fault := 'MS001';
			RETURN;
		ELSIF v_account.mesh_udf <> p_mesh THEN
			o_fault := 'MS006';
			RETURN;
		END IF;
		o_outcome := ARRAY[0, v_account.state, v_account.epoch];
		IF p_updated > v_account.profile_updated AND v_account.state = 2 THEN
			SELECT d.rights INTO v_rights FROM device_auth k
				JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id AND NOT d.removed
				WHERE k.partition = p_partition AND k.account = v_account.account AND k.kid = p_kid;
			IF v_rights IS NULL AND p_kid <> '' AND p_kid = v_account.creator_kid AND NOT EXISTS (SELECT FROM container c
					WHERE c.partition = p_partition AND c.account = v_account.account AND c.name = 'mmm_Device' AND c.frames > 1) THEN
				v_rights := 511;
			END IF;
			IF NOT p_fresh OR (p_epoch <> 0 AND p_epoch <> v_account.epoch) THEN
				o_fault := 'MS009';
				RETURN;
			ELSIF coalesce(v_rights, 0) & 1 = 0 THEN
				o_fault := 'MS008';
				RETURN;
			END IF;
			PERFORM FROM partition p WHERE p.partition = p_partition FOR NO KEY UPDATE; -- one writer of mmms_Account
			UPDATE account a SET profile_updated = p_updated, profile_mesh = p_profile_mesh, profile_account = p_profile_account
				WHERE a.partition = p_partition AND a.account = v_account.account;
			PERFORM mesh_append(p_partition, 0, 'mmms_Account', 2::smallint, NULL, NULL, false, ARRAY[a_envelope], ARRAY[a_unique], ARRAY[a_event],
				ARRAY[a_type], ARRAY[a_written], ARRAY[a_digest], ARRAY[a_header], ARRAY[a_trailer], ARRAY[a_payload]);
		END IF;
		PERFORM mesh_remember(p_partition, v_slot, p_key, p_request, o_outcome);
		RETURN;
	ELSIF p_only_existing THEN
		o_fault := 'MS008';
		RETURN;
	END IF;
	IF p_redirect = '' THEN
		FOREACH v_fault IN ARRAY e_fault LOOP
			IF v_fault <> 0 THEN
				o_fault := 'MS' || to_char(v_fault, 'FM00000');
				RETURN;
			END IF;
		END LOOP;
	END IF;

	UPDATE partition p SET next_account = p.next_account + 1 WHERE p.partition = p_partition RETURNING p.next_account - 1 INTO v_number;
	INSERT INTO account (partition, account, address, state, epoch, profile_udf, mesh_udf, profile_updated, profile_mesh, profile_account, redirect, creator_kid)
		VALUES (p_partition, v_number, p_address, p_state, 1, p_profile, p_mesh, p_updated, p_profile_mesh, p_profile_account, p_redirect, p_kid);
	PERFORM mesh_append(p_partition, 0, 'mmms_Account', 2::smallint, NULL, NULL, false, ARRAY[a_envelope], ARRAY[a_unique], ARRAY[a_event],
		ARRAY[a_type], ARRAY[a_written], ARRAY[a_digest], ARRAY[a_header], ARRAY[a_trailer], ARRAY[a_payload]);
	o_outcome := ARRAY[1, p_state, 1];
	IF p_redirect = '' THEN
		PERFORM mesh_append(p_partition, v_number, spool, 3::smallint, NULL, NULL, false, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')
			FROM unnest(ARRAY['mmm_Inbound', 'mmm_Local', 'mmm_Outbound']) spool;
		IF cardinality(u_container) > 0 THEN -- a conflict is raised and undoes the account
			o_outcome := o_outcome || mesh_pack(mesh_store(p_partition, v_number, true, u_container, u_how, u_index, u_digest, u_zero, u_skip, u_count,
				e_fault, e_envelope, e_unique, e_event, e_type, e_written, e_digest, e_header, e_trailer, e_payload,
				d_entry, d_udf, d_auth, d_mesh, d_sign, d_curve, d_key, d_connection, d_rights, c_entry, c_udf, c_rights, c_end, c_address));
		END IF;
	END IF;
	PERFORM mesh_remember(p_partition, v_slot, p_key, p_request, o_outcome);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_set_partitions changes or makes partitions. One that exists is changed under its exclusive fence: no writer is inside that
-- read another state. One that did not exist is seen by nobody before the commit.
CREATE FUNCTION mesh_set_partitions(p_first smallint, p_last smallint, p_state smallint, p_epoch bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	v_partition smallint;
BEGIN
	INSERT INTO partition (partition, state, epoch) SELECT n, p_state, p_epoch FROM generate_series(p_first::integer, p_last::integer) n ON CONFLICT DO NOTHING;
	FOR v_partition IN SELECT p.partition FROM partition p WHERE p.partition BETWEEN p_first AND p_last
			AND (p.state, p.epoch) IS DISTINCT FROM (p_state, p_epoch) ORDER BY p.partition LOOP
		PERFORM pg_advisory_xact_lock(v_partition::bigint);
		UPDATE partition p SET state = p_state, epoch = p_epoch WHERE p.partition = v_partition AND p.epoch <= p_epoch;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'partition % has seen a later map', v_partition USING ERRCODE = 'MS021';
		END IF;
	END LOOP;
END $$;
-- +goose StatementEnd
