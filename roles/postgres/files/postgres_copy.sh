# Copies a whole PostgreSQL server into an empty one of a newer version and compares both. Runs beside the new one, whose programs
# read both; the socket of the old one is in /old. $1: the superuser of both. Prints how much was copied, as JSON.
set -euo pipefail

old=/old new=/var/run/postgresql folder=$(mktemp -d)
export PGUSER=$1 LC_ALL=C.UTF-8 PGCLIENTENCODING=UTF8
# Values are compared as text, so both servers must write them alike.
export PGOPTIONS='-c search_path=pg_catalog -c timezone=UTC -c datestyle=ISO -c extra_float_digits=1 -c statement_timeout=0'

ask() { psql --host="$1" --dbname="$2" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1; }

copy() {
  # The image made it with one. The old server's, where it has one, comes with the copy.
  echo 'alter role current_user password null' | ask $new postgres
  # The superuser is there already; all that follows its line is piped as it is.
  exists=$(echo "select format('CREATE ROLE %I;', current_user)" | ask $old postgres)
  pg_dumpall --host=$old |
    { while IFS= read -r line && [ "$line" != "$exists" ]; do printf '%s\n' "$line"; done; cat; } |
    ask $new postgres > "$folder/log"
}

# PostgreSQL 16 gave a membership its own INHERIT, from the role's, and a grantor.
definitions() {
  pg_dumpall --host="$1" --schema-only | grep -Ev '^(--|\\(un)?restrict |$)' |
    sed -E '/^GRANT /{s/(,| WITH) INHERIT (TRUE|FALSE)//; s/ GRANTED BY .*;$/;/}'
}

# Tables with the number of their rows and a sum over the content, then sequences with their position.
contents() {
  echo 'select datname from pg_database where datallowconn order by 1' | ask "$1" postgres > "$2.databases"
  while IFS= read -r database; do
    ask "$1" "$database" <<'SQL'
select format(
    $$select current_database(), %L, count(*), sum(hashtextextended((kept.*)::text, 0)::numeric) from only %s as kept$$,
    oid::regclass, oid::regclass)
from pg_class where relkind in ('r', 'm') and relnamespace::regnamespace::text !~ '^(pg_.*|information_schema)$' order by oid::regclass::text
\gexec
select format($$select current_database(), %L, last_value, is_called from %s$$, oid::regclass, oid::regclass)
from pg_class where relkind = 'S' order by oid::regclass::text
\gexec
SQL
  done < "$2.databases"
}

# Prints what differs, without verifiers of passwords.
same() {
  diff --unified=0 "$folder/old.$1" "$folder/new.$1" > "$folder/differences" || {
    echo "Both servers differ in their $1:" >&2
    sed -E "s/PASSWORD '[^']+'/PASSWORD '…'/" "$folder/differences" | tail -n +3 | head -n 20 >&2
    exit 1
  }
}

main() {
  copy
  definitions $old > "$folder/old.definitions"
  definitions $new > "$folder/new.definitions"
  same definitions
  contents $old "$folder/old" > "$folder/old.contents" &
  contents $new "$folder/new" > "$folder/new.contents"
  wait $!
  same contents
  vacuumdb --host=$new --all --analyze-only --quiet
  awk -F '|' '$4 !~ /^[tf]$/ { tables += 1; rows += $3 } END { printf "{\"tables\": %d, \"rows\": %d}\n", tables, rows }' \
    "$folder/new.contents"
}

# The shell reads this file from its input, which no program below may read.
main < /dev/null
