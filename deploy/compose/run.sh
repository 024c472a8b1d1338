#!/usr/bin/env bash
# run.sh BUILD COMPOSE: the stack of docker-compose.yml, made, started, tried and removed. BUILD holds our binaries,
# COMPOSE is docker compose v2. What is tried: the demo's scenario, operations that only a stack of containers shows,
# and the independent acceptance client when it stands beside the project.
set -euo pipefail
build=$(cd "${1:?usage: run.sh BUILD COMPOSE}" && pwd) compose=${2:?usage: run.sh BUILD COMPOSE}
cd "$(dirname "$0")/../.."
root=$PWD; here=$root/deploy/compose
work=$(mktemp -d "${TMPDIR:-/tmp}/mesh-compose.XXXXXX"); chmod 711 "$work"
say() { printf '\n=== %s\n' "$*"; }

# A project of its own: a stack that somebody has up for himself is left alone, its volumes too.
export COMPOSE_PROJECT_NAME=meshd-e2e-$$ COMPOSE_PROGRESS=quiet
# Ports that are free now, and fixed: a container that is killed comes back at its own.
free_ports() { # N
  local p=$((20000 + RANDOM % 10000)) n=0
  while [ "$n" -lt "$1" ]; do
    p=$((p + 1)); (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; n=$((n + 1)); }
  done
}
read -r -d '' -a port < <(free_ports 10; printf '\0')
export MESH_ALPHA_PORT=${port[0]} MESH_ALPHA_CLEARTEXT_PORT=${port[1]} MESH_BETA_PORT=${port[2]} MESH_BETA_CLEARTEXT_PORT=${port[3]}
for i in 0 1 2 3 4 5; do export "MESH_TEST_PORT_$i=${port[4 + i]}"; done

bash "$here/images.sh"
bash "$here/init.sh" "$build"
export MESH_COMPOSE_STATE=$work/state.json
stack=("$compose" --env-file "$root/.build/compose/env" -f "$root/docker-compose.yml" -f "$here/test.yaml")
finish() {
  status=$?
  if [ "$status" != 0 ]; then "${stack[@]}" ps -a || true; "${stack[@]}" logs --no-color --tail 20 || true; fi
  "${stack[@]}" --profile tools down -v -t 5 --remove-orphans >/dev/null 2>&1 || echo 'the stack could not be removed' >&2
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

provider() { # NAME PORT CLEARTEXT ADMIN
  printf '{"domain":"%s.example","endpoint":"https://127.0.0.1:%s/.well-known/mmm","cleartext_endpoint":"http://127.0.0.1:%s/.well-known/mmm","ca_file":"%s/.build/compose/ca.pem","admin":"127.0.0.1:%s","metrics":"http://127.0.0.1:%s/metrics"}' \
    "$1" "$2" "$3" "$root" "$4" "$4"
}
printf '{"providers":[%s,%s]}\n' "$(provider alpha "${port[0]}" "${port[1]}" "${port[8]}")" "$(provider beta "${port[2]}" "${port[3]}" "${port[9]}")" >"$MESH_COMPOSE_STATE"
databases=()
for i in 0 1 2 3; do
  file=$root/.build/compose/$([ $i -lt 2 ] && echo alpha || echo beta)/postgres-$((i % 2))/password
  databases+=("postgres://mesh:$(<"$file")@127.0.0.1:${port[4 + i]}/mesh?sslmode=disable")
done
export MESH_COMPOSE_DATABASES=${databases[*]}

say "the demo's scenario, without messages: the stack has no NATS, and its gateways answer Post with 400/24"
go run ./services/e2e/demo -bin "$build" -messages=false -compose "${stack[*]}"

say 'operations'
bash "$here/operations.sh" "$build" "${stack[@]}"

if [ -d ../shared/acceptance ]; then
  say 'the independent acceptance client'
  go -C ../shared/acceptance build -o "$work/client" .
  # The limits are those of production here: the client slows down for them, and areas that need no more are enough.
  "$work/client" -state "$MESH_COMPOSE_STATE" -run '^(TRN|HEL)' -total 200s
fi
