#!/usr/bin/env bash
# operations.sh BUILD COMPOSE…: what docs/operations.md tells an operator, done on the running stack of run.sh, and what
# only containers can show: who they are, and whom they reach. COMPOSE… is the docker compose command with its files.
set -euo pipefail
build=$1; shift; stack=("$@")
here=$(cd "$(dirname "$0")" && pwd); secrets=$here/../../.build/compose
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
# step TEXT COMMAND…: says ok, or all that the command said.
step() {
  printf '  %-78s' "$1"; shift
  if "$@" >"$work/out" 2>&1; then echo ok; else echo FAILED; cat "$work/out"; exit 1; fi
}
has() { grep "$1" >/dev/null; } # reads to the end: grep -q would end the writer of a pipe with SIGPIPE
container() { "${stack[@]}" ps -aq "$1"; }
pid() { docker inspect -f '{{.State.Pid}}' "$(container "$1")"; }
meshctl() { "${stack[@]}" run --rm -T alpha-meshctl "$@"; }
cluster=(--shard-map /etc/meshd/shardmap.yaml --pki /run/meshd/pki) # as alpha-meshctl sees them
mesh() { "$build/mesh" --state "$MESH_COMPOSE_STATE" --dir "$work/$1" "${@:2}"; }
# exits CODE COMMAND…
exits() { local code=0; "${@:2}" || code=$?; [ "$code" = "$1" ] || { echo "exit code $code, want $1"; return 1; }; }
write() { echo "secret" | mesh "$1" password add "$2" user --password-file - -o json | has '"synced": *true'; }
within() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { "$@"; return; }; sleep 0.5; done; }

# --- who they are
confined() {
  local s status
  for s in {alpha,beta}-{gateway,shard-0,shard-1}; do
    status=$(</proc/"$(pid "$s")"/status)
    grep -q '^Uid:[[:space:]]*[1-9]' <<<"$status" && grep -q '^CapEff:[[:space:]]*0*$' <<<"$status" && grep -q '^CapBnd:[[:space:]]*0*$' <<<"$status" &&
      grep -q '^NoNewPrivs:[[:space:]]*1$' <<<"$status" && [ "$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' "$(container "$s")")" = true ] ||
      { echo "$s: $status"; return 1; }
  done
}
step 'not root, no capability, none to be had, nothing to write to' confined

# --- whom they reach: reaches FROM ADDRESS PORT, from inside the network of a container
reaches() { docker run --rm --network "container:$(container "$1")" --entrypoint timeout postgres:17-trixie 2 bash -c ": <>/dev/tcp/$2/$3" 2>/dev/null; }
addresses() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$(container "$1")"; }
reaches_any() { local ip; for ip in $(addresses "$2"); do if reaches "$1" "$ip" "$3"; then return 0; fi; done; return 1; }
only_its_own() { reaches_any alpha-shard-0 alpha-postgres-0 5432 && ! reaches_any alpha-shard-0 alpha-postgres-1 5432 && ! reaches_any alpha-shard-0 beta-postgres-0 5432; }
gateway_no_database() { reaches_any alpha-gateway alpha-shard-0 7001 && ! reaches_any alpha-gateway alpha-postgres-0 5432 && ! reaches_any alpha-gateway beta-shard-0 7001; }
step 'a shard reaches its own database and no other' only_its_own
step 'a gateway reaches its own shards, no database, nobody else'"'"'s shards' gateway_no_database

# --- two people on the two shards
# The partition of an address (docs/design.md, Partitions and shards); the map gives the lower half to s00.
partition() { printf '%d' $((16#$(printf 'mesh-partition:%s' "$1" | sha256sum | cut -c1-3))); }
for name in olga oskar otto odile oona omar; do
  if [ "$(partition "$name@alpha.example")" -lt 2048 ]; then first=${first:-$name}; else second=${second:-$name}; fi
done
people() { for p in "$first" "$second"; do mesh "$p" account create "$p@alpha.example" && write "$p" one.example; done; }
lie() { meshctl account where "$first@alpha.example" "${cluster[@]}" | has s00 && meshctl account where "$second@alpha.example" "${cluster[@]}" | has s01; }
step "accounts on both shards" people
step 'meshctl account where finds them' lie

# --- watch
healthy() { "${stack[@]}" exec -T alpha-gateway /meshd healthcheck 127.0.0.1:9090 && "${stack[@]}" exec -T alpha-shard-0 /meshd healthcheck 127.0.0.1:9090; }
metrics() { exec 3<>"/dev/tcp/127.0.0.1/$MESH_TEST_PORT_4" && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && has mesh_transaction_duration_seconds <&3; }
step 'meshd healthcheck' healthy
step 'metrics of a gateway' metrics

# --- a shard is down
down() { "${stack[@]}" stop alpha-shard-0; }
up() { "${stack[@]}" up -d --wait --wait-timeout 120; }
half() { exits 7 mesh "$first" account status && write "$second" two.example; }
step 'a shard is stopped' down
step 'its accounts are told to try later, the others go on' half
step 'up -d brings it back' up
step 'its accounts go on' write "$first" two.example

# --- a crash: the supervisor starts it again
crash() { local p; p=$(pid alpha-shard-1); [ "$p" -gt 1 ] && kill -9 "$p"; }
back() { within 60 healthy_again; }
healthy_again() { [ "$(docker inspect -f '{{.State.Health.Status}} {{.RestartCount}}' "$(container alpha-shard-1)")" = 'healthy 1' ]; }
if [ "$(id -u)" = 0 ]; then
  step 'a shard is killed from outside (kill -9)' crash
  step 'it is started again, without anybody' back
  step 'its accounts go on' within 20 write "$second" three.example
fi

# --- rotate tickets and certificates, without a restart
rotate() { local n; n=$(meshctl tickets rotate --ring /ring/ring.json -o json | grep -c '"id"') && [ "$n" -ge 2 ]; }
renew() { "$build/meshctl" pki create --dir "$secrets/offline/alpha/pki" && bash "$here/init.sh" "$build"; }
restarted() { "${stack[@]}" restart alpha-shard-1 && up; } # a new connection: both sides show what they have now
step 'meshctl tickets rotate adds a key' rotate
step 'people go on' write "$first" four.example
step 'meshctl pki create renews the certificates of the roles' renew
step 'a shard that comes back finds its gateway' restarted
step 'people go on' within 20 write "$second" four.example

# --- stop writes of a partition
p=$(partition "$first@alpha.example")
frozen() { exits 7 write_or_code "$first" five.example && write "$second" five.example; }
write_or_code() { echo secret | mesh "$1" password add "$2" user --password-file - >/dev/null && mesh "$1" account sync; }
step "meshctl partitions freeze $p" meshctl partitions freeze "$p" "${cluster[@]}"
step 'its writes wait, the others go on' frozen
step "meshctl partitions thaw $p" meshctl partitions thaw "$p" "${cluster[@]}"
step 'what waited goes out' mesh "$first" account sync

# --- check
fsck() { local provider i; for provider in alpha beta; do for i in 0 1; do "${stack[@]}" run --rm -T "$provider-migrate-$i" fsck --config /etc/meshd/shard.yaml; done; done; }
step 'meshctl fsck of every database' fsck

# --- back up, restore
dump() { "${stack[@]}" exec -T alpha-postgres-0 pg_dump -U mesh -Fc mesh >"$work/s00.dump" && [ -s "$work/s00.dump" ]; }
restore() {
  "${stack[@]}" stop alpha-shard-0
  "${stack[@]}" exec -T alpha-postgres-0 dropdb -U mesh mesh
  "${stack[@]}" exec -T alpha-postgres-0 createdb -U mesh mesh
  "${stack[@]}" exec -T alpha-postgres-0 pg_restore -U mesh -d mesh --exit-on-error <"$work/s00.dump"
  up
}
step 'pg_dump of a shard' dump
step 'the database is lost and restored' restore
step 'fsck of what was restored' "${stack[@]}" run --rm -T alpha-migrate-0 fsck --config /etc/meshd/shard.yaml
step 'who wrote nothing since then sees no difference' mesh "$first" account sync
step 'and goes on' write "$first" six.example
step 'a write after the dump was taken …' write "$first" seven.example
step '… is lost with a restore of it' restore
step '… which its writer finds and names (exit 6)' exits 6 mesh "$first" account sync
