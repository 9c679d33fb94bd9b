#!/usr/bin/env bash
# Builds the packages and lives with the .deb: packages.sh BINARY DIR TOOLS.
#
# BINARY goes into them, DIR keeps what is worth keeping (a Debian root by debootstrap), TOOLS has cargo-deb and
# cargo-generate-rpm. The package is installed into a copy of that root, upgraded in it while a router serves from it,
# removed and purged. No systemd runs there: tests/more/systemctl does what the unit says. All of it happens in
# namespaces of its own, so no port is taken here and nothing outlives the script. Needs root for that.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${INSIDE:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "packages.sh: only root can make the scratch root" >&2 && exit 1; }
    exec env INSIDE=1 unshare --pid --mount-proc --net --fork --kill-child -- bash "$0" "$@"
fi

binary=$(realpath "$1")
keep=$(realpath -m "$2")
export PATH="$(realpath "$3")/bin:$PATH"
work=$(mktemp -d)
root=$work/root
trap 'umount "$root/proc" 2> /dev/null || :; rm -rf --one-file-system "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    [ ! -e "$work/said" ] || sed 's/^/  said: /' "$work/said" >&2
    [ ! -e "$root/var/log/router" ] || tail -n 3 "$root/var/log/router" >&2
    exit 1
}

ok() { echo "$* ... ok"; }

within() { chroot "$root" "$@"; }

# Runs dpkg in the root and keeps what it says; it must succeed.
package() {
    : > "$root/var/log/systemctl"
    DEBIAN_FRONTEND=noninteractive within dpkg "$@" > "$work/said" 2>&1 || fail "dpkg $*"
}

said() { grep -qF -- "$1" "$work/said" || fail "not said: $1"; }

called() { grep -qE -- "$1" "$root/var/log/systemctl"; }

mode() {
    found=$(within stat -c '%a %U:%G' "$1")
    [ "$found" = "$2" ] || fail "$1 is $found and not $2"
}

ready() { curl -s -o /dev/null -m 2 --fail http://127.0.0.1:8080/health/ready; }

wait_for() {
    for _ in $(seq 100); do
        ! "$@" || return 0
        sleep 0.1
    done
    fail "waited in vain: $*"
}

# Which file the router that serves was started from: its inode.
serving() { stat -Lc %i "/proc/$1/exe" 2> /dev/null; }

make_packages() {
    mkdir -p "$work/target/release"
    strip -o "$work/target/release/auto-ai-router" "$binary"
    packaging/made "$binary" target/package
    for version in 0.1.0-1 0.2.0-1 0.3.0-1; do
        CARGO_TARGET_DIR=$work/target cargo deb --quiet --no-build --fast --deb-version "$version" \
            -o "$work/$version.deb" > /dev/null
    done
    lintian --fail-on error,warning --allow-root "$work/0.1.0-1.deb" || fail "lintian has objections"
    ok "lintian has no objections"
    CARGO_TARGET_DIR=$work/target cargo generate-rpm --payload-compress gzip -o "$work/router.rpm"
    ! command -v rpm > /dev/null || {
        rpm -qpl "$work/router.rpm" > "$work/rpm"
        for file in /usr/bin/auto-ai-router /usr/lib/systemd/system/auto-ai-router.service \
            /usr/share/man/man1/auto-ai-router.1.gz /usr/share/auto-ai-router/config.schema.json; do
            grep -qxF "$file" "$work/rpm" || fail "the .rpm lacks $file"
        done
        ok "the .rpm has $(wc -l < "$work/rpm") files"
    }
}

make_root() {
    [ -e "$keep/root/etc/debian_version" ] || {
        rm -rf "$keep/root"
        mkdir -p "$keep"
        debootstrap --variant=minbase --include=systemd-standalone-sysusers,systemd-standalone-tmpfiles,ca-certificates \
            bookworm "$keep/root" > "$keep/debootstrap.log" 2>&1 || fail "debootstrap: see $keep/debootstrap.log"
    }
    cp -a "$keep/root" "$root"
    mount -t proc proc "$root/proc"
    mkdir -p "$root/run/systemd/system"
    install -m 755 tests/more/systemctl "$root/usr/bin/systemctl"
    cp "$work"/*.deb "$root/"
    mkdir -p "$keep/built" && cp "$work"/*.deb "$keep/built/" # for systemd.sh
    ip link set lo up
}

first_installation() {
    package -i /0.1.0-1.deb
    said "installed, not started"
    said "OPENAI_API_KEY"
    ! called "start|enable" || fail "a service is started that cannot be used"
    mode /etc/auto-ai-router "750 root:auto-ai-router"
    mode /etc/auto-ai-router/config.yaml "640 root:auto-ai-router"
    mode /etc/auto-ai-router/environment "640 root:auto-ai-router"
    grep -qE '^MASTER_KEY=sk-[0-9a-f]{48}$' "$root/etc/auto-ai-router/environment" || fail "no key was made"
    [ -z "$(within dpkg-query -W -f '${Conffiles}' auto-ai-router)" ] || fail "the configuration is a conffile"
    [ "$(within auto_ai_router version)" = "$("$binary" version)" ] || fail "the link of the first generation"
    bash -n "$root/usr/share/bash-completion/completions/auto-ai-router"
    ! command -v man > /dev/null || {
        man --warnings -l "$root/usr/share/man/man1/auto-ai-router.1.gz" 2>&1 > /dev/null | grep . && fail "the manual page"
    }
    ok "a first installation makes a user, a configuration and a key, and starts nothing unusable"
}

# A configuration in front of the demonstration, and a router that runs as the unit says.
start() {
    (cd "$work" && exec "$binary" demo --port 8090) > "$work/demo" 2>&1 &
    wait_for grep -qo 'sk-demo-[0-9a-f]*' "$work/demo"
    demo=$(grep -o 'sk-demo-[0-9a-f]*' "$work/demo" | head -n 1)
    cat > "$root/etc/auto-ai-router/config.yaml" << END
server:
  host: 127.0.0.1
  master_key: os.environ/MASTER_KEY
credentials:
  - name: demo
    type: proxy
    base_url: http://127.0.0.1:8090
    api_key: os.environ/DEMO_KEY
END
    echo "DEMO_KEY=$demo" >> "$root/etc/auto-ai-router/environment"
    within deb-systemd-invoke start auto-ai-router.service 2> /dev/null || :
    ! ready || fail "a disabled unit was started"
    within systemctl start auto-ai-router.service
    wait_for ready
}

key() { sed -n 's/^MASTER_KEY=//p' "$root/etc/auto-ai-router/environment"; }

# Asks without a pause, a new connection each time, and writes the statuses down.
ask() {
    while [ ! -e "$work/enough" ]; do
        curl -s -o /dev/null -m 20 -w '%{http_code}\n' http://127.0.0.1:8080/v1/chat/completions \
            -H "Authorization: Bearer $(key)" -H "Content-Type: application/json" \
            -d '{"model": "demo-echo", "messages": [{"role": "user", "content": "hello"}]}' >> "$work/statuses" || :
    done
}

# One stream that lasts longer than an upgrade.
listen() {
    curl -sN -m 60 http://127.0.0.1:8080/v1/chat/completions -H "Authorization: Bearer $(key)" \
        -H "Content-Type: application/json" \
        -d '{"model": "demo-slow", "stream": true, "messages": [{"role": "user", "content": "'"$(seq -s ' ' 40)"'"}]}' \
        > "$work/stream" || :
}

upgrade_while_serving() {
    before=$(within systemctl main)
    old=$(serving "$before")
    ask &
    asking=$!
    listen &
    listening=$!
    wait_for test -s "$work/stream"
    package -i /0.2.0-1.deb
    ! called "restart|stop|start" || fail "an upgrade restarts"
    called "reload auto-ai-router.service" || fail "an upgrade does not reload"
    if within auto-ai-router help | grep -q '^  reload'; then
        said "the new version serves"
        now=$(within systemctl main)
        [ "$(serving "$now")" != "$old" ] || fail "the old program serves on"
        told="the new program took over"
    else
        said "installed, not activated"
        told="the old program serves on, as this one cannot reload"
    fi
    wait "$listening"
    grep -q '^data: \[DONE\]' "$work/stream" || fail "a stream was cut: $(tail -n 3 "$work/stream")"
    sleep 1
    touch "$work/enough"
    wait "$asking"
    [ -z "$(grep -vx 200 "$work/statuses")" ] || fail "not all were answered: $(sort "$work/statuses" | uniq -c)"
    ok "upgraded during $(wc -l < "$work/statuses") requests and a stream, none lost: $told"
}

upgrade_with_a_bad_file() {
    echo "    no_such_key: 1" >> "$root/etc/auto-ai-router/config.yaml"
    package -i /0.3.0-1.deb
    said "installed, not activated"
    said "config.yaml:9:"
    said "no_such_key"
    ! called "reload auto-ai-router" || fail "a bad file is activated"
    ready || fail "the old program has left"
    within auto-ai-router healthcheck || fail "a bad file makes a router that serves a sick one"
    ok "an upgrade with a bad configuration names the line, and the old program serves on"
}

remove_and_purge() {
    package -r auto-ai-router
    ! ready || fail "it runs after its removal"
    [ -e "$root/etc/auto-ai-router/environment" ] || fail "a removal takes the keys"
    sed -i '/no_such_key/d' "$root/etc/auto-ai-router/config.yaml"
    package -i /0.3.0-1.deb
    ! called "start" || fail "a second installation starts what was not enabled"
    package -P auto-ai-router
    for path in /etc/auto-ai-router /var/lib/auto-ai-router /usr/bin/auto-ai-router /usr/bin/auto_ai_router \
        /usr/lib/auto-ai-router /usr/share/auto-ai-router /lib/systemd/system/auto-ai-router.service; do
        [ ! -e "$root$path" ] && [ ! -L "$root$path" ] || fail "a purge leaves $path"
    done
    ok "a removal stops and keeps the configuration, a purge takes all"
}

# A configuration that was put there before the package: as a fleet's provisioning does.
prepared_installation() {
    mkdir "$root/etc/auto-ai-router"
    printf 'DEMO_KEY=%s\nMASTER_KEY=sk-prepared-0123456789abcdef\n' "$demo" > "$root/etc/auto-ai-router/environment"
    sed -n '/^server:/,/DEMO_KEY$/p' "$work/prepared" > "$root/etc/auto-ai-router/config.yaml"
    package -i /0.1.0-1.deb
    said "running"
    wait_for ready
    mode /etc/auto-ai-router/config.yaml "640 root:auto-ai-router"
    [ -L "$root/etc/systemd/system/multi-user.target.wants/auto-ai-router.service" ] || fail "it is not enabled"
    package -P auto-ai-router
    [ ! -L "$root/etc/systemd/system/multi-user.target.wants/auto-ai-router.service" ] || fail "a purge leaves it enabled"
    ok "an installation over a prepared configuration starts"
}

make_packages
make_root
first_installation
start
cp "$root/etc/auto-ai-router/config.yaml" "$work/prepared"
upgrade_while_serving
upgrade_with_a_bad_file
remove_and_purge
prepared_installation
echo "packages: passed"
