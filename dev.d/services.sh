# shellcheck shell=bash
# PostgreSQL and Redis: which, where, start and stop. Read by ./dev.

STARTED=() # services that this call has started

# Whether a process id from a file still is the process that was started in a folder: after a reboot it may be anybody's.
is_service() { [ -n "$1" ] && [ "$(as_service readlink "/proc/$1/cwd" 2>/dev/null)" = "$2" ]; }
service_pid() { as_service head -n 1 "$1" 2>/dev/null || true; }
postgres_pid() { service_pid "$SERVICES_DIR/postgres/postmaster.pid"; }
redis_pid() { service_pid "$SERVICES_DIR/redis/redis.pid"; }
postgres_runs() { is_service "$(postgres_pid)" "$SERVICES_DIR/postgres"; }
redis_runs() { is_service "$(redis_pid)" "$SERVICES_DIR/redis"; }

# The URL of another database of a server: on_server URL NAME.
on_server() {
    local base=${1%%\?*}
    local query=${1#"$base"}
    if [[ $base = *://*/* ]]; then base=${base%/*}; fi
    echo "$base/$2$query"
}

# Decides which services are ours, and sets DATABASE_URL, SERVER_URL (the same server, to create databases on) and REDIS_URL.
# Ours are known by their password: one that was exported earlier may name a port that was given up since.
locate_services() {
    local own=postgres://muster:$PASSWORD@127.0.0.1:
    OWN_POSTGRES=true OWN_REDIS=true
    if [ -n "${DATABASE_URL:-}" ] && [[ $DATABASE_URL != "$own"* ]]; then
        OWN_POSTGRES=false SERVER_URL=$DATABASE_URL
    else
        DATABASE_URL=$own$POSTGRES_PORT/muster SERVER_URL=$own$POSTGRES_PORT/postgres
    fi
    own=redis://:$PASSWORD@127.0.0.1:
    if [ -n "${REDIS_URL:-}" ] && [[ $REDIS_URL != "$own"* ]]; then OWN_REDIS=false; else REDIS_URL=$own$REDIS_PORT/0; fi
}

need_services() {
    load_settings
    locate_services
    if $OWN_POSTGRES; then find_postgres || MISSING+=(postgresql); else need psql postgresql-client; fi
    if $OWN_REDIS; then need redis-server redis-server; fi
    install_missing
    if $OWN_POSTGRES; then
        find_postgres || fail "PostgreSQL $(cat "$STATE/postgres-version" 2>/dev/null) is not found under /usr/lib/postgresql; run ./dev reset"
        PSQL=$PG_BIN/psql
    else
        PSQL=psql
    fi
}

start_services() {
    # The variables given to the tests and to muster follow the ports, which may be chosen anew here.
    if $OWN_POSTGRES && ! postgres_runs; then
        if taken "$POSTGRES_PORT"; then POSTGRES_PORT=$(free_port); fi
        start_postgres
    fi
    if $OWN_REDIS && ! redis_runs; then
        if taken "$REDIS_PORT"; then REDIS_PORT=$(free_port); fi
        start_redis
    fi
    save_settings
    if $OWN_POSTGRES; then DATABASE_URL=; fi
    if $OWN_REDIS; then REDIS_URL=; fi
    locate_services
    sql "$SERVER_URL" -c 'SELECT 1' >/dev/null || fail "PostgreSQL does not answer$($OWN_POSTGRES || echo ' at DATABASE_URL'): see the line above"
}

start_postgres() {
    local data=$SERVICES_DIR/postgres log=$SERVICES_DIR/postgres.log version
    version=$("$PG_BIN/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "$version" -ge 15 ] || fail "PostgreSQL $version is too old: install 15 or newer, or set DATABASE_URL"
    if ! as_service test -f "$data/PG_VERSION"; then
        say "creating a PostgreSQL $version cluster"
        as_service_write "$SERVICES_DIR/password" <<<"$PASSWORD"
        as_service "$PG_BIN/initdb" -D "$data" -U muster -A scram-sha-256 --pwfile "$SERVICES_DIR/password" -E UTF8 \
            --locale C.UTF-8 --no-sync >"$STATE/initdb.log" 2>&1 || fail "cannot create a PostgreSQL cluster; see $STATE/initdb.log"
        echo "$version" >"$STATE/postgres-version"
    fi
    say "starting PostgreSQL on port $POSTGRES_PORT"
    as_service rm -f "$data/postmaster.pid" # left by a crash: postgres_runs has looked
    as_service "$PG_BIN/pg_ctl" -D "$data" -l "$log" -w -t 60 -o "-p $POSTGRES_PORT -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c fsync=off -c full_page_writes=off -c max_connections=300" start >/dev/null 2>&1 ||
        fail "PostgreSQL does not start; see $log"
    STARTED+=(postgres)
}

start_redis() {
    local folder=$SERVICES_DIR/redis
    say "starting Redis on port $REDIS_PORT"
    as_service mkdir -p "$folder"
    as_service_write "$folder/redis.conf" <<END
bind 127.0.0.1
port $REDIS_PORT
requirepass $PASSWORD
dir "$folder"
pidfile "$folder/redis.pid"
logfile "$folder/redis.log"
daemonize yes
save ""
appendonly no
maxmemory-policy noeviction
END
    as_service redis-server "$folder/redis.conf" >/dev/null || fail "Redis does not start; see $folder/redis.log"
    for _ in {1..100}; do
        if redis_runs && taken "$REDIS_PORT"; then STARTED+=(redis) && return; fi
        sleep 0.1
    done
    fail "Redis does not start; see $folder/redis.log"
}

stop_postgres() {
    postgres_runs || return 0
    say "stopping PostgreSQL"
    find_postgres || fail "PostgreSQL's pg_ctl is gone: end process $(postgres_pid) yourself"
    as_service "$PG_BIN/pg_ctl" -D "$SERVICES_DIR/postgres" -m fast -w -t 60 stop >/dev/null ||
        fail "PostgreSQL does not stop; see $SERVICES_DIR/postgres.log"
}

stop_redis() {
    redis_runs || return 0
    say "stopping Redis"
    end_process as_service "$(redis_pid)" redis_runs
}

# `sh` has a `kill` of its own; the program is not on every machine.
# Ends a process of ours: end_process RUN PID TEST, where RUN runs a command as its user and TEST tells whether it is there.
end_process() {
    "$1" sh -c "kill -TERM $2"
    for _ in {1..300}; do
        "$3" || return 0
        sleep 0.1
    done
    "$1" sh -c "kill -KILL $2"
}

# What this call has started, unless somebody has begun to use it.
stop_started() {
    local service
    if muster_runs; then return; fi
    for service in "${STARTED[@]}"; do "stop_$service"; done
}

sql() { PGOPTIONS='-c client_min_messages=warning' "$PSQL" -X -q -At -v ON_ERROR_STOP=1 "$@"; }

# A database of this name, with the migrations applied by psql: it must not need a build.
fresh_database() {
    local file
    sql "$SERVER_URL" -c "DROP DATABASE IF EXISTS $1 WITH (FORCE)" -c "CREATE DATABASE $1"
    for file in migrations/*.sql; do
        sql "$(on_server "$SERVER_URL" "$1")" -1 -f "$file" >/dev/null || fail "$file fails: see the line above"
    done
}
