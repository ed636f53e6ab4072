#!/bin/sh
# Make a data directory where there is none, then become the server.
set -eu

# $1 or the content of the file that $1_FILE names, else $2
setting() {
  eval "file=\${$1_FILE:-} value=\${$1:-\$2}"
  # shellcheck disable=SC2154 # eval sets both
  if [ -n "$file" ]; then cat "$file"; else printf '%s' "$value"; fi
}

if [ "${1:-postgres}" != postgres ]; then
  exec "$@"
fi

sockets=/var/run/postgresql
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" "$sockets"
  chmod 3775 "$sockets"
  chown postgres:postgres "$sockets" "$(dirname "$PGDATA")"
  find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups \
    env HOME=/var/lib/postgresql USER=postgres sh "$0" "$@"
fi

if [ -s "$PGDATA/PG_VERSION" ]; then
  ours=$(postgres --version | sed -E 's/.* ([0-9]+)\..*/\1/')
  theirs=$(cat "$PGDATA/PG_VERSION")
  if [ "$ours" != "$theirs" ]; then
    echo "The data in $PGDATA belong to PostgreSQL $theirs, this image is $ours: upgrade them first" >&2
    exit 1
  fi
else
  user=$(setting POSTGRES_USER postgres)
  database=$(setting POSTGRES_DB "$user")
  password=$(setting POSTGRES_PASSWORD '')
  if [ -z "$password" ]; then
    echo 'Set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE: the first user of a new cluster needs a password' >&2
    exit 1
  fi
  # Everything happens beside the final place; only a complete cluster is moved there, so that a start that was
  # killed half-way begins again.
  new=$PGDATA/.new
  rm -rf "$new"
  # The arguments are a list of words on purpose.
  # shellcheck disable=SC2086
  printf '%s\n' "$password" |
    initdb --pgdata="$new" --username="$user" --pwfile=/dev/stdin ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all scram-sha-256\n' >> "$new/pg_hba.conf"
  printf "\nlisten_addresses = '*'\n" >> "$new/postgresql.conf"
  if [ "$database" != postgres ]; then
    quoted=$(printf '%s' "$database" | sed 's/"/""/g')
    printf 'create database "%s"\n' "$quoted" | postgres --single -j -D "$new" postgres > /dev/null
  fi
  for entry in "$new"/*; do
    case $entry in */PG_VERSION) ;; *) rm -rf "${PGDATA:?}/${entry##*/}" && mv "$entry" "$PGDATA/" ;; esac
  done
  chmod 0700 "$PGDATA"
  sync
  mv "$new/PG_VERSION" "$PGDATA/" && rmdir "$new"
fi

exec "$@"
