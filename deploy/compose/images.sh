#!/usr/bin/env bash
# images.sh: makes the images that docker-compose.yml names and this machine cannot pull, under their real names, from
# Debian's packages. An image that is there already is left alone: with a registry at hand this does nothing.
set -euo pipefail
postgres=postgres:17-trixie
cache=${XDG_CACHE_HOME:-$HOME/.cache}/meshd-images
here=$(cd "$(dirname "$0")" && pwd)

docker image inspect "$postgres" >/dev/null 2>&1 && exit 0
if timeout 60 docker pull -q "$postgres" 2>/dev/null; then exit 0; fi

echo "no registry: making $postgres from Debian's packages" >&2
mkdir -p "$cache"
if [ ! -s "$cache/postgres17.tar" ]; then
  command -v mmdebstrap >/dev/null || apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
  mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
    --include=postgresql-17 trixie "$cache/new.tar"
  mv "$cache/new.tar" "$cache/postgres17.tar"
fi
context=$(mktemp -d); trap 'rm -rf "$context"' EXIT
ln "$cache/postgres17.tar" "$context/root.tar" 2>/dev/null || cp "$cache/postgres17.tar" "$context/root.tar"
cp "$here/postgres-entrypoint.sh" "$context/"
cat >"$context/Dockerfile" <<'D'
FROM scratch
ADD root.tar /
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data && install -d -o postgres -g postgres -m 3777 /var/run/postgresql \
 && sed -i "s/^#listen_addresses = .*/listen_addresses = '*'/" /usr/share/postgresql/17/postgresql.conf.sample
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data
LABEL meshd.stand-in="PostgreSQL 17 of Debian trixie"
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
D
DOCKER_BUILDKIT=0 docker build -q -t "$postgres" "$context" >/dev/null
echo "made $postgres" >&2
