# shellcheck shell=bash
# What must be installed on this machine, and installing it. Read by ./dev.

MISSING=()
need() { has "$1" || MISSING+=("${@:2}"); }

# PostgreSQL's programs are not on Debian's PATH: the newest version, or the one the data was made by.
find_postgres() {
    local version='*'
    if [ -f "$STATE/postgres-version" ]; then version=$(cat "$STATE/postgres-version"); fi
    # shellcheck disable=SC2086 # the version may be a pattern
    PG_BIN=$(printf '%s\n' /usr/lib/postgresql/$version/bin | sort -V | tail -n 1)
    if [ ! -x "$PG_BIN/initdb" ]; then PG_BIN=$(dirname "$(command -v initdb || echo /none/initdb)"); fi
    [ -x "$PG_BIN/initdb" ]
}

# Installs what `need` found missing. The services that Debian's packages bring are kept from starting: ours are private.
install_missing() {
    [ ${#MISSING[@]} -gt 0 ] || return 0
    local command="apt-get install -y --no-install-recommends ${MISSING[*]}" as_root=()
    has apt-get || fail "missing: ${MISSING[*]} (names of Debian packages); install them and run this again"
    if ! is_root; then
        if ! { has sudo && sudo -n true 2>/dev/null; }; then fail "missing: ${MISSING[*]}; run as root: $command"; fi
        as_root=(sudo -n)
    fi
    say "installing ${MISSING[*]}"
    "${as_root[@]}" bash -s -- "${MISSING[@]}" >"$STATE/install.log" 2>&1 <<'END' || fail "cannot install ${MISSING[*]}; see $STATE/install.log, or run as root: $command"
set -e
policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.d
remove=()
trap 'rm -f "${remove[@]}"; rmdir --ignore-fail-on-non-empty "$clusters"' EXIT
if [ ! -e "$policy" ]; then
    remove+=("$policy")
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
mkdir -p "$clusters"
remove+=("$clusters/muster-dev.conf")
echo "create_main_cluster = false" >"$clusters/muster-dev.conf"
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends "$@"
if [[ " $* " = *" redis-server "* ]] && [ -d /run/systemd/system ]; then systemctl disable redis-server; fi
END
    MISSING=()
}

# Lets the fault tests move the clocks of processes; without it they leave the clocks alone, and say so.
want_faketime() {
    if compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then return; fi
    (MISSING=(faketime) && install_missing) || say "going on without faketime: the fault tests leave the clocks alone"
}

need_rust() {
    has cargo || PATH=$HOME/.cargo/bin:$PATH
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    has cargo || fail "Rust is missing: install $wanted or newer from https://rustup.rs"
    found=$(cargo --version | cut -d ' ' -f 2)
    printf '%s\n%s\n' "$wanted" "$found" | sort -V -C || fail "Rust $found is too old: $wanted or newer is needed (rustup update)"
    need cc gcc libc6-dev
}
