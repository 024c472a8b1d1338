-- The verbs of messages. As in 00002: one function each, each statement in it with a snapshot of its own, locks in the same order.
-- mesh_claim alone takes no account's lock, and waits for nobody.

-- +goose Up

-- +goose StatementBegin
-- mesh_spool appends entries that p_which chooses, by number from 1 and in its order, to a spool of an account: their indices.
CREATE FUNCTION mesh_spool(p_partition smallint, p_account bigint, p_name text, p_which integer[],
	e_envelope text[], e_unique text[], e_type text[], e_written boolean[], e_digest bytea[], e_header bytea[], e_trailer bytea[], e_payload bytea[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
	v_i constant integer := p_which[1];
BEGIN
	IF cardinality(p_which) = 0 THEN
		RETURN '{}';
	ELSIF cardinality(p_which) = 1 THEN
		RETURN mesh_append(p_partition, p_account, p_name, 1::smallint, NULL, NULL, false, ARRAY[e_envelope[v_i]], ARRAY[e_unique[v_i]], '{0}',
			ARRAY[e_type[v_i]], ARRAY[e_written[v_i]], ARRAY[e_digest[v_i]], ARRAY[e_header[v_i]], ARRAY[e_trailer[v_i]], ARRAY[e_payload[v_i]]);
	END IF;
	RETURN (SELECT mesh_append(p_partition, p_account, p_name, 1::smallint, NULL, NULL, false,
			array_agg(e_envelope[w.i] ORDER BY w.n), array_agg(e_unique[w.i] ORDER BY w.n), array_agg(0::smallint),
			array_agg(e_type[w.i] ORDER BY w.n), array_agg(e_written[w.i] ORDER BY w.n), array_agg(e_digest[w.i] ORDER BY w.n),
			array_agg(e_header[w.i] ORDER BY w.n), array_agg(e_trailer[w.i] ORDER BY w.n), array_agg(e_payload[w.i] ORDER BY w.n))
		FROM unnest(p_which) WITH ORDINALITY AS w(i, n));
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_post accepts messages: one row for each recipient of each message, then for each entry of Self; or a single row with
-- o_fault. o_fate: an index, or -1 less the extended code of the refusal. m_…: messages, m_count their recipients, which are r_…,
-- one after the other; s_…: entries of Self. m_fault, r_fault and s_fault: refusals that were found before; what else is in
-- place of such a message means nothing.
-- The outcome that is remembered is the fates; the rows are looked up, as they are now.
CREATE FUNCTION mesh_post(p_partition smallint, p_address text, p_profile text, p_epoch bigint, p_kid text, p_key bytea, p_request bytea, p_waiter text,
	m_fault integer[], m_sign text[], m_count integer[], m_envelope text[], m_unique text[], m_type text[], m_written boolean[],
	m_digest bytea[], m_header bytea[], m_trailer bytea[], m_payload bytea[],
	r_fault integer[], r_address text[], r_domain text[],
	s_fault integer[], s_envelope text[], s_unique text[], s_type text[], s_written boolean[],
	s_digest bytea[], s_header bytea[], s_trailer bytea[], s_payload bytea[])
RETURNS TABLE (o_fault text, o_detail text, o_fate bigint, o_id uuid, o_settled boolean, o_accepted boolean, o_code integer, o_rule text, o_policy text)
LANGUAGE plpgsql AS $$
DECLARE
	v_in record;
	v_slot integer;
	v_fates bigint[];
	v_indices bigint[];
	v_which integer[];
	v_now timestamptz;
	v_base integer := 0; -- recipients of the messages before
	v_fault integer;
	v_index bigint;
	v_outbound smallint;
BEGIN
	v_in := mesh_enter(p_partition, p_address, p_profile, p_epoch, p_kid, false);
	o_fault := v_in.o_fault;
	o_detail := v_in.o_detail;
	IF o_fault IS NULL AND v_in.o_rights & 2 = 0 THEN
		o_fault := 'MS008';
	END IF;
	IF o_fault IS NOT NULL THEN
		RETURN NEXT;
		RETURN;
	END IF;
	v_slot := mesh_slot();
	v_fates := mesh_recall(p_partition, v_slot, p_key, p_request);
	IF v_fates[1] = -1 THEN -- no message has this fate
		o_fault := 'MS021';
		RETURN NEXT;
		RETURN;
	ELSIF v_fates IS NULL THEN
		v_fates := '{}';
		v_now := clock_timestamp();
		SELECT c.container INTO v_outbound FROM container c WHERE c.partition = p_partition AND c.account = v_in.o_account AND c.name = 'mmm_Outbound';
		FOR m IN 1 .. cardinality(m_fault) LOOP
			v_fault := m_fault[m];
			IF v_fault = 0 AND NOT EXISTS (SELECT FROM device_sign k
					JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id AND NOT d.removed
					WHERE k.partition = p_partition AND k.account = v_in.o_account AND k.kid = m_sign[m]) THEN
				v_fault := 13;
			END IF;
			IF v_fault = 0 AND m_envelope[m] <> '' THEN
				SELECT CASE WHEN bool_and(f.payload_digest <> m_digest[m]) THEN 13 ELSE 0 END INTO v_fault FROM frame f
					WHERE f.partition = p_partition AND f.account = v_in.o_account AND f.container = v_outbound AND f.event = 0 AND f.envelope_id = m_envelope[m];
			END IF;
			IF v_fault = 0 AND 0 = ANY (r_fault[v_base + 1 : v_base + m_count[m]]) THEN
				v_indices := mesh_spool(p_partition, v_in.o_account, 'mmm_Outbound', ARRAY[m],
					m_envelope, m_unique, m_type, m_written, m_digest, m_header, m_trailer, m_payload);
				v_index := v_indices[1];
				INSERT INTO outbox (partition, account, id, frame, recipient, domain, waiter, state, created, next_attempt)
					SELECT p_partition, v_in.o_account, gen_random_uuid(), v_index, r_address[r], r_domain[r], p_waiter, 1, v_now, v_now
					FROM generate_series(v_base + 1, v_base + m_count[m]) r WHERE r_fault[r] = 0
					ON CONFLICT ((partition + 0), (account + 0), frame, recipient) DO NOTHING;
			END IF;
			FOR r IN v_base + 1 .. v_base + m_count[m] LOOP
				v_fates[r] := CASE WHEN v_fault <> 0 THEN -1 - v_fault WHEN r_fault[r] <> 0 THEN -1 - r_fault[r] ELSE v_index END;
			END LOOP;
			v_base := v_base + m_count[m];
		END LOOP;

		v_which := array_positions(s_fault, 0);
		v_indices := mesh_spool(p_partition, v_in.o_account, 'mmm_Local', v_which,
			s_envelope, s_unique, s_type, s_written, s_digest, s_header, s_trailer, s_payload);
		FOR s IN 1 .. cardinality(s_fault) LOOP
			v_fates[v_base + s] := -1 - s_fault[s];
		END LOOP;
		FOR s IN 1 .. cardinality(v_which) LOOP
			v_fates[v_base + v_which[s]] := v_indices[s];
		END LOOP;
		PERFORM mesh_remember(p_partition, v_slot, p_key, p_request, v_fates);
	END IF;

	-- One after the other, in order: these are lookups by a key, whatever the planner may think of their number.
	v_base := cardinality(r_address);
	FOR i IN 1 .. cardinality(v_fates) LOOP
		o_fate := v_fates[i];
		o_id := NULL;
		IF i <= v_base AND o_fate >= 0 THEN
			SELECT o.id, o.state > 2, o.accepted, o.code, o.rule, o.policy INTO o_id, o_settled, o_accepted, o_code, o_rule, o_policy
				FROM outbox o WHERE o.partition + 0 = p_partition AND o.account + 0 = v_in.o_account AND o.frame = o_fate AND o.recipient = r_address[i];
		END IF;
		RETURN NEXT;
	END LOOP;
END $$;
-- +goose StatementEnd

-- What the relay, and who asks after a message, see of an outbox row. OFFSET 0: each lookup is by its whole key, which a planner who
-- thinks the tables are small would not take care of.
CREATE VIEW outgoing AS
	SELECT o.partition, o.account, o.id, o.frame, a.address, a.profile_udf, f.unique_id, f.message_type,
		o.recipient, o.domain, o.state, o.attempts, o.waiter, o.created, o.next_attempt, o.accepted, o.code, o.rule, o.policy, o.verdict_at,
		f.header, f.trailer, f.payload_digest, f.digest_written, f.tree_digest, f.received, f.own, f.payload_len, f.envelope_id, f.payload
	FROM outbox o
	CROSS JOIN LATERAL (SELECT a.address, a.profile_udf FROM account a WHERE a.partition = o.partition AND a.account = o.account OFFSET 0) a
	CROSS JOIN LATERAL (SELECT c.container FROM container c
		WHERE c.partition = o.partition AND c.account = o.account AND c.name = 'mmm_Outbound' OFFSET 0) c
	CROSS JOIN LATERAL (SELECT * FROM frame f
		WHERE f.partition = o.partition AND f.account = o.account AND f.container = c.container AND f.idx = o.frame OFFSET 0) f;

-- +goose StatementBegin
-- mesh_claim takes due rows for a relay. Rows first, then the fences of their partitions, neither waited for; then, in a statement whose
-- snapshot is later than the locks, those of partitions that are open. Rows of one that is being frozen are locked and let go.
-- The rows are read in the order of their index until there are enough, however many are due.
CREATE FUNCTION mesh_claim(p_limit integer, p_lease double precision) RETURNS SETOF outgoing
LANGUAGE plpgsql SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
	v_now constant timestamptz := clock_timestamp();
	v_partitions smallint[];
	v_accounts bigint[];
	v_ids uuid[];
	v_fenced smallint[];
BEGIN
	SELECT array_agg(x.partition), array_agg(x.account), array_agg(x.id) INTO v_partitions, v_accounts, v_ids FROM (
		SELECT o.partition, o.account, o.id FROM outbox o
		WHERE o.state < 3 AND o.next_attempt <= v_now AND (SELECT p.state FROM partition p WHERE p.partition = o.partition) = 1
		ORDER BY o.next_attempt LIMIT p_limit FOR UPDATE OF o SKIP LOCKED) x;
	IF v_ids IS NULL THEN
		RETURN;
	END IF;
	v_fenced := ARRAY(SELECT p.partition FROM (SELECT DISTINCT unnest(v_partitions)) p(partition) WHERE pg_try_advisory_xact_lock_shared(p.partition::bigint));
	FOR i IN 1 .. cardinality(v_ids) LOOP
		CONTINUE WHEN v_partitions[i] <> ALL (v_fenced);
		UPDATE outbox o SET state = 2, next_attempt = v_now + make_interval(secs => p_lease)
			WHERE o.partition = v_partitions[i] AND o.account = v_accounts[i] AND o.id = v_ids[i]
			AND (SELECT p.state FROM partition p WHERE p.partition = v_partitions[i]) = 1;
		IF FOUND THEN
			RETURN QUERY SELECT g.* FROM outgoing g WHERE g.partition = v_partitions[i] AND g.account = v_accounts[i] AND g.id = v_ids[i];
		END IF;
	END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_outbox finds rows of an account: those of the messages with an EnvelopeID, or those named. STABLE: one snapshot, the caller's.
CREATE FUNCTION mesh_outbox(p_partition smallint, p_address text, p_envelope text, p_ids uuid[]) RETURNS SETOF outgoing
LANGUAGE plpgsql STABLE AS $$
DECLARE
	v_account bigint;
	v_container smallint;
	v_ids uuid[] := p_ids;
	v_id uuid;
BEGIN
	SELECT a.account INTO v_account FROM account a WHERE a.partition = p_partition AND a.address = p_address;
	IF v_ids IS NULL THEN
		SELECT c.container INTO v_container FROM container c WHERE c.partition = p_partition AND c.account = v_account AND c.name = 'mmm_Outbound';
		SELECT array_agg(o.id) INTO v_ids FROM frame f
			CROSS JOIN LATERAL (SELECT o.id FROM outbox o WHERE o.partition + 0 = p_partition AND o.account + 0 = v_account AND o.frame = f.idx OFFSET 0) o
			WHERE f.partition = p_partition AND f.account = v_account AND f.container = v_container AND f.event = 0
			AND f.envelope_id = p_envelope AND f.envelope_id <> '';
	END IF;
	FOREACH v_id IN ARRAY coalesce(v_ids, '{}') LOOP
		RETURN QUERY SELECT g.* FROM outgoing g WHERE g.partition = p_partition AND g.account = v_account AND g.id = v_id;
	END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_fence takes the locks of a writer who is no device, and finds the account, or none: o_account is NULL.
CREATE FUNCTION mesh_fence(p_partition smallint, p_address text,
	OUT o_fault text, OUT o_detail text, OUT o_account bigint, OUT o_state smallint, OUT o_redirect text)
LANGUAGE plpgsql AS $$
DECLARE
	v_partition smallint;
BEGIN
	PERFORM pg_advisory_xact_lock_shared(p_partition::bigint), pg_advisory_xact_lock(p_partition::integer, hashtext(p_address));
	SELECT p.state, a.account, a.state, a.redirect INTO v_partition, o_account, o_state, o_redirect
		FROM partition p LEFT JOIN account a ON a.partition = p.partition AND a.address = p_address WHERE p.partition = p_partition;
	IF v_partition IS NULL OR v_partition = 3 THEN
		o_fault := 'MS999';
		o_detail := mesh_epoch(p_partition);
	ELSIF v_partition <> 1 THEN
		o_fault := 'MS031';
	END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_settle records outcomes. t_…: settlements; t_event and t_failure: the numbers of their frames, from 1, among e_…; 0: none. o_outcome:
-- how many took effect.
CREATE FUNCTION mesh_settle(p_partition smallint, p_address text,
	t_id uuid[], t_state smallint[], t_next timestamptz[], t_accepted boolean[], t_code integer[], t_rule text[], t_policy text[],
	t_event integer[], t_failure integer[],
	e_envelope text[], e_unique text[], e_type text[], e_written boolean[], e_digest bytea[], e_header bytea[], e_trailer bytea[], e_payload bytea[],
	OUT o_fault text, OUT o_detail text, OUT o_outcome bigint[])
LANGUAGE plpgsql AS $$
DECLARE
	v_in record;
	v_now timestamptz;
	v_n bigint := 0;
	v_events integer[] := '{}';
	v_failures integer[] := '{}';
BEGIN
	v_in := mesh_fence(p_partition, p_address);
	o_fault := v_in.o_fault;
	o_detail := v_in.o_detail;
	IF o_fault IS NOT NULL THEN
		RETURN;
	END IF;
	v_now := clock_timestamp();
	FOR i IN 1 .. cardinality(t_id) LOOP
		-- state + 0: state < 3 would offer the index of due rows, which a planner who thinks the table is small reads whole.
		IF t_state[i] = 1 THEN
			UPDATE outbox o SET state = 1, attempts = o.attempts + 1, next_attempt = t_next[i]
				WHERE o.partition = p_partition AND o.account = v_in.o_account AND o.id = t_id[i] AND o.state + 0 < 3;
		ELSE
			UPDATE outbox o SET state = t_state[i], accepted = t_accepted[i], code = t_code[i], rule = t_rule[i], policy = t_policy[i], verdict_at = v_now
				WHERE o.partition = p_partition AND o.account = v_in.o_account AND o.id = t_id[i] AND o.state + 0 < 3;
		END IF;
		CONTINUE WHEN NOT FOUND;
		v_n := v_n + 1;
		IF t_event[i] > 0 THEN
			v_events := v_events || t_event[i];
		END IF;
		IF t_failure[i] > 0 THEN
			v_failures := v_failures || t_failure[i];
		END IF;
	END LOOP;
	IF v_in.o_state <> 4 THEN
		PERFORM mesh_spool(p_partition, v_in.o_account, 'mmm_Outbound', v_events, e_envelope, e_unique, e_type, e_written, e_digest, e_header, e_trailer, e_payload);
		PERFORM mesh_spool(p_partition, v_in.o_account, 'mmm_Inbound', v_failures, e_envelope, e_unique, e_type, e_written, e_digest, e_header, e_trailer, e_payload);
	END IF;
	o_outcome := ARRAY[v_n];
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_deliver records the verdict on a message. p_fault: of the message, found before; then nothing else of it is read. o_outcome is
-- a run as of package rule.
CREATE FUNCTION mesh_deliver(p_partition smallint, p_address text, p_sender_address text, p_sender_udf text,
	p_fault integer, p_accepted boolean, p_code integer, p_rule text, p_policy text, p_inputs text,
	e_envelope text, e_unique text, e_type text, e_written boolean, e_digest bytea, e_header bytea, e_trailer bytea, e_payload bytea,
	OUT o_fault text, OUT o_detail text, OUT o_outcome bigint[])
LANGUAGE plpgsql AS $$
DECLARE
	v_in record;
	v_accepted boolean := p_accepted;
	v_code integer := p_code;
	v_index bigint;
	v_digest bytea;
BEGIN
	v_in := mesh_fence(p_partition, p_address);
	o_fault := v_in.o_fault;
	o_detail := v_in.o_detail;
	IF o_fault IS NOT NULL THEN
		RETURN;
	ELSIF v_in.o_account IS NULL OR v_in.o_state = 4 THEN
		o_fault := 'MS003';
		RETURN;
	ELSIF v_in.o_state = 1 THEN
		o_fault := 'MS005';
		RETURN;
	ELSIF v_in.o_redirect <> '' THEN
		o_fault := 'MS020';
		o_detail := v_in.o_redirect;
		RETURN;
	ELSIF p_fault <> 0 THEN
		o_outcome := ARRAY[2, p_fault, 0, 1];
		RETURN;
	END IF;

	SELECT CASE WHEN d.accepted THEN d.idx END, d.digest INTO v_index, v_digest FROM delivery d
		WHERE d.partition = p_partition AND d.account = v_in.o_account AND d.envelope_id = e_envelope AND d.sender_udf = p_sender_udf;
	IF v_index IS NOT NULL AND v_digest <> e_digest THEN
		o_outcome := ARRAY[2, 13, 0, 1];
		RETURN;
	ELSIF v_index IS NULL THEN
		SELECT min(d.idx) INTO v_index FROM delivery d
			WHERE d.partition = p_partition AND d.account = v_in.o_account AND d.digest = e_digest AND d.accepted AND d.sender_udf = p_sender_udf;
	END IF;
	IF v_index IS NOT NULL THEN
		o_outcome := ARRAY[1, 0, v_index, 1];
		RETURN;
	END IF;

	IF v_in.o_state = 3 THEN
		v_accepted := false;
		v_code := 17;
	END IF;
	IF v_accepted THEN
		v_index := (mesh_append(p_partition, v_in.o_account, 'mmm_Inbound', 4::smallint, NULL, NULL, false, ARRAY[e_envelope], ARRAY[e_unique], '{0}',
			ARRAY[e_type], ARRAY[e_written], ARRAY[e_digest], ARRAY[e_header], ARRAY[e_trailer], ARRAY[e_payload]))[1];
		o_outcome := ARRAY[1, 0, v_index, 1];
	ELSE
		o_outcome := ARRAY[2, v_code, 0, 1];
	END IF;
	INSERT INTO delivery (partition, account, envelope_id, sender_udf, sender_address, message_type, digest, idx, accepted, code, rule, policy, inputs, at)
		VALUES (p_partition, v_in.o_account, e_envelope, p_sender_udf, p_sender_address, e_type, e_digest, coalesce(v_index, 0), v_accepted, v_code,
		p_rule, p_policy, p_inputs, clock_timestamp())
		ON CONFLICT (partition, account, envelope_id, sender_udf) DO UPDATE SET sender_address = excluded.sender_address, message_type = excluded.message_type,
		digest = excluded.digest, idx = excluded.idx, accepted = excluded.accepted, code = excluded.code, rule = excluded.rule, policy = excluded.policy,
		inputs = excluded.inputs, at = excluded.at;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- mesh_report appends a frame to mmms_Incident of a partition. o_outcome: its index, or that of the one which has its EnvelopeID.
CREATE FUNCTION mesh_report(p_partition smallint,
	e_envelope text, e_unique text, e_type text, e_written boolean, e_digest bytea, e_header bytea, e_trailer bytea, e_payload bytea,
	OUT o_fault text, OUT o_detail text, OUT o_outcome bigint[])
LANGUAGE plpgsql AS $$
DECLARE
	v_partition smallint;
	v_index bigint;
BEGIN
	PERFORM pg_advisory_xact_lock_shared(p_partition::bigint);
	SELECT p.state INTO v_partition FROM partition p WHERE p.partition = p_partition FOR NO KEY UPDATE; -- one writer of mmms_Incident
	IF v_partition IS NULL OR v_partition = 3 THEN
		o_fault := 'MS999';
		o_detail := mesh_epoch(p_partition);
		RETURN;
	ELSIF v_partition <> 1 THEN
		o_fault := 'MS031';
		RETURN;
	END IF;
	IF e_envelope <> '' THEN
		SELECT min(f.idx) INTO v_index FROM frame f
			WHERE f.partition = p_partition AND f.account = 0 AND f.event = 0 AND f.envelope_id = e_envelope
			AND f.container = (SELECT c.container FROM container c WHERE c.partition = p_partition AND c.account = 0 AND c.name = 'mmms_Incident');
	END IF;
	IF v_index IS NULL THEN
		o_outcome := mesh_append(p_partition, 0, 'mmms_Incident', 2::smallint, NULL, NULL, false, ARRAY[e_envelope], ARRAY[e_unique], '{0}',
			ARRAY[e_type], ARRAY[e_written], ARRAY[e_digest], ARRAY[e_header], ARRAY[e_trailer], ARRAY[e_payload]);
	ELSE
		o_outcome := ARRAY[v_index];
	END IF;
END $$;
-- +goose StatementEnd
