#!/bin/bash
# The part of the official image's entry point that docker-compose.yml relies on: a cluster on first start, password
# from a file, one database, then the server as user postgres.
set -euo pipefail
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then # as root, whom a secret belongs to
  POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE"); export POSTGRES_PASSWORD; unset POSTGRES_PASSWORD_FILE
fi
if [ "$(id -u)" = 0 ]; then
  install -d -o postgres -g postgres -m 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  initdb -D "$PGDATA" --username="$user" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:?or POSTGRES_PASSWORD_FILE is needed}") \
    --encoding=UTF8 --locale=C.UTF-8 --auth-host=scram-sha-256 --auth-local=trust >/dev/null
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start >/dev/null
  if [ "${POSTGRES_DB:-postgres}" != postgres ]; then createdb -h /var/run/postgresql -U "$user" "$POSTGRES_DB"; fi
  pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
fi
unset POSTGRES_PASSWORD
exec "$@"
