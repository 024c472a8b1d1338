#!/usr/bin/env bash
# init.sh BUILD: makes what docker-compose.yml mounts, in .build/compose, one folder for each service: keys of the
# providers, certificates, ticket rings, database passwords. What is there already stays. BUILD holds meshkey and meshctl.
#
# .build/compose/offline is what an operator keeps in a safe: the private keys of the ProfileServices and of both CAs.
set -euo pipefail
build=$(cd "${1:?usage: init.sh BUILD}" && pwd)
cd "$(dirname "$0")/../.."
out=$PWD/.build/compose offline=$PWD/.build/compose/offline
# As root we give the files to the user of the image. Anybody else runs the containers as himself: --env-file $out/env.
user=65532:65532; [ "$(id -u)" = 0 ] || user=$(id -u):$(id -g)
umask 077
mkdir -p "$offline"
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }

for provider in alpha beta; do
  domain=$provider.example keys=$offline/$provider
  [ -d "$keys/provider" ] || "$build/meshkey" provider --domain "$domain" --out "$keys/provider" >/dev/null
  [ -f "$keys/pki/meshctl.pem" ] || "$build/meshctl" pki create --dir "$keys/pki" >/dev/null
  [ -f "$offline/tls/$domain.pem" ] || "$build/meshctl" pki server --dir "$offline/tls" --domain "$domain" --domain "mmm.$domain" --ip 127.0.0.1 >/dev/null
  [ -f "$keys/log-key" ] || random 32 >"$keys/log-key"

  # give ROLE FOLDER: what every role has.
  give() {
    mkdir -p "$2/pki"
    cp "$keys/pki/ca.pem" "$keys/pki/$1.pem" "$keys/pki/$1-key.pem" "$2/pki/"
    [ "$1" = meshctl ] || cp "$keys/log-key" "$2/"
    [ ! -d "$keys/provider/$1" ] || { mkdir -p "$2/provider"; cp -R "$keys/provider/public" "$keys/provider/$1" "$2/provider/"; }
  }
  give gateway "$out/$provider/gateway"
  mkdir -p "$out/$provider/gateway/tls" "$out/$provider/gateway/ring"
  cp "$offline/tls/$domain.pem" "$offline/tls/$domain-key.pem" "$out/$provider/gateway/tls/"
  ring=$out/$provider/gateway/ring/ring.json
  [ -f "$ring" ] || "$build/meshctl" tickets rotate --ring "$ring" >/dev/null
  give meshctl "$out/$provider/meshctl"
  for i in 0 1; do
    give shard "$out/$provider/shard-$i"
    mkdir -p "$out/$provider/postgres-$i"
    [ -f "$out/$provider/postgres-$i/password" ] || random 24 >"$out/$provider/postgres-$i/password"
    # No TLS to the database: the network has the two of them and nobody else.
    printf 'postgres://mesh:%s@%s-postgres-%s:5432/mesh?sslmode=disable\n' "$(<"$out/$provider/postgres-$i/password")" $provider $i >"$out/$provider/shard-$i/database-url"
  done
  [ "$(id -u)" != 0 ] || chown -R "$user" "$out/$provider"/{gateway,meshctl,shard-0,shard-1}
done
cp "$offline/tls/ca.pem" "$out/ca.pem"; chmod 644 "$out/ca.pem"
printf 'MESHD_USER=%s\n' "$user" >"$out/env"
