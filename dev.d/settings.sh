# shellcheck shell=bash
# Settings of this checkout: ports, places and a password, chosen once. Read by ./dev.

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    for _ in {1..100}; do
        port=$((15000 + RANDOM % 15000))
        if ! taken "$port"; then echo "$port" && return; fi
    done
    fail "no free port found between 15000 and 30000"
}

load_settings() {
    mkdir -p "$STATE"
    HTTP_PORT='' METRICS_PORT='' POSTGRES_PORT='' REDIS_PORT='' PASSWORD='' SERVICES_DIR=''
    # shellcheck disable=SC1091 # written by save_settings
    if [ -f "$STATE/settings" ]; then . "$STATE/settings"; fi
    if [ -z "$HTTP_PORT" ]; then
        HTTP_PORT=8080
        if taken "$HTTP_PORT"; then HTTP_PORT=$(free_port); fi
    fi
    METRICS_PORT=${METRICS_PORT:-$(free_port)}
    POSTGRES_PORT=${POSTGRES_PORT:-$(free_port)}
    REDIS_PORT=${REDIS_PORT:-$(free_port)}
    PASSWORD=${PASSWORD:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
    choose_services_dir
    save_settings
}

save_settings() {
    (umask 077 && cat >"$STATE/settings.new") <<END
HTTP_PORT=$HTTP_PORT
METRICS_PORT=$METRICS_PORT
POSTGRES_PORT=$POSTGRES_PORT
REDIS_PORT=$REDIS_PORT
PASSWORD=$PASSWORD
SERVICES_DIR=$(printf %q "$SERVICES_DIR")
END
    mv "$STATE/settings.new" "$STATE/settings"
}

# PostgreSQL refuses to run as root, so root runs the services as nobody.
as_service() {
    (
        cd /
        if is_root; then exec setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- "$@"; else exec "$@"; fi
    )
}

# Writes standard input to a file of the services, for their user only.
as_service_write() { as_service sh -c "umask 077 && cat >$(printf %q "$1")"; }

# The services' folder must be within their user's reach, which a checkout in a private home is not.
choose_services_dir() {
    local owner
    owner=$(if is_root; then id -u nobody; else id -u; fi)
    if [ -n "$SERVICES_DIR" ] && [ "$(stat -c %u "$SERVICES_DIR" 2>/dev/null)" = "$owner" ]; then return; fi
    SERVICES_DIR=$STATE/services
    mkdir -p "$SERVICES_DIR"
    chmod 700 "$SERVICES_DIR"
    if is_root; then
        chown nobody "$SERVICES_DIR"
        if ! as_service test -w "$SERVICES_DIR"; then
            rmdir "$SERVICES_DIR"
            SERVICES_DIR=$(mktemp -d /var/tmp/muster-dev.XXXXXX || mktemp -d)
            chown nobody "$SERVICES_DIR"
        fi
    fi
    SERVICES_DIR=$(readlink -f "$SERVICES_DIR")
    rm -f "$STATE/postgres-version"
}
