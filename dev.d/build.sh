# shellcheck shell=bash
# Building, generating, and the clients that tests need. Read by ./dev.

# With the points at which tests stop the program. The same everywhere, so that nothing is built twice.
FEATURES=(--features muster/failpoints)

# All binaries of the workspace, so that `up`, `test` and `check` share one build of every dependency.
build() {
    if [ -x "$MUSTER" ]; then say "building"; else say "building (the first time takes about six minutes on two cores)"; fi
    cargo build --workspace --bins "${FEATURES[@]}" || fail "the build failed: see above; if a query has no cached data, run ./dev schema"
}

# The generated files, into a folder.
generate() {
    mkdir -p "$1/docs"
    "$MUSTER" schema >"$1/schema.graphql"
    "$MUSTER" config reference >"$1/docs/configuration.md"
    "$MUSTER" config metrics >"$1/docs/metrics.md"
    "$MUSTER" config permissions >"$1/docs/permissions.md"
}

# Compiles everything against a fresh database and writes what the checked queries need to know offline, into a folder.
compile_online() {
    local folder=$1 database=muster_check_$$ status=0
    shift
    mkdir -p "$folder"
    fresh_database "$database"
    # The compiler does not know that the queries depend on the database.
    find ./*/src tests -maxdepth 1 -name '*.rs' -exec touch {} +
    SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$folder DATABASE_URL=$(on_server "$SERVER_URL" "$database") "$@" || status=$?
    sql "$SERVER_URL" -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"
    return "$status"
}


# JavaScript and Python clients that tests run against a server, installed once per lock file.
install_clients() {
    local clients=tests/clients target stamp
    target=${CARGO_TARGET_DIR:-$ROOT/target}/clients
    mkdir -p "$target"
    if [ -f "$clients/package-lock.json" ]; then
        stamp=$target/npm-$(sha256sum <"$clients/package-lock.json" | cut -c 1-16)
        if [ ! -f "$stamp" ] || [ ! -d "$clients/node_modules" ]; then
            say "installing the tests' JavaScript clients"
            npm ci --prefix "$clients" --no-audit --no-fund >"$STATE/npm.log" 2>&1 || fail "npm ci fails; see $STATE/npm.log"
            touch "$stamp"
        fi
        MUSTER_TEST_NODE=$(command -v node)
        export MUSTER_TEST_NODE
    fi
    if [ -f "$clients/requirements.txt" ]; then
        stamp=$target/python-$(sha256sum <"$clients/requirements.txt" | cut -c 1-16)
        if [ ! -f "$stamp" ]; then
            say "installing the tests' Python packages"
            { python3 -m venv --clear "$target/venv" && "$target/venv/bin/pip" install -q -r "$clients/requirements.txt"; } \
                >"$STATE/pip.log" 2>&1 || fail "the Python packages cannot be installed; see $STATE/pip.log"
            touch "$stamp"
        fi
        export MUSTER_TEST_PYTHON=$target/venv/bin/python
    fi
}

need_clients() {
    if [ -f tests/clients/package-lock.json ]; then need node nodejs && need npm npm; fi
    if [ -f tests/clients/requirements.txt ] && ! python3 -c 'import ensurepip' 2>/dev/null; then MISSING+=(python3-venv); fi
}
