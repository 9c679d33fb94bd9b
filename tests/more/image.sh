#!/usr/bin/env bash
# Takes the steps of the Dockerfile without Docker, so that its words are not only read but run.
#
# The build happens in a copy of what .dockerignore lets through, with the debug profile, since what is asked is whether
# anything is missing there. The image is a root with nothing in it but what the last stage copies, the libraries that
# Google's cc image has, and its user; it is read-only, but for /tmp and the state. Needs root, for namespaces.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${INSIDE:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "image.sh: only root can make the clean root" >&2 && exit 1; }
    exec env INSIDE=1 unshare --pid --mount-proc --net --fork --kill-child -- bash "$0" "$@"
fi

here=$PWD
work=$(mktemp -d)
image=$work/image
trap 'umount -R "$image" 2> /dev/null || :; rm -rf --one-file-system "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    [ ! -e "$work/log" ] || tail -n 3 "$work/log" >&2
    exit 1
}

# The words of an instruction in exec form, one a line.
words() { grep -oE "$1 \[.*\]" Dockerfile | tail -n 1 | grep -oE '"[^"]*"' | tr -d '"'; }

as_nonroot() { chroot --userspec=65532:65532 "$image" "$@"; }

context() {
    mkdir "$work/src"
    sed -n 's/^!//p' .dockerignore | tar -c -T - | tar -x -C "$work/src"
}

build() {
    ip link set lo up
    (cd "$work/src" && cargo build --locked --offline --quiet) || fail "the context lacks something"
    strip -o "$work/auto-ai-router" "${CARGO_TARGET_DIR:-$here/target}/debug/auto-ai-router"
    mkdir -p "$work/out/bin" "$work/out/state"
    install "$work/auto-ai-router" "$work/out/bin/auto-ai-router"
    ln -s auto-ai-router "$work/out/bin/auto_ai_router"
    echo "the build context is enough ... ok"
}

assemble() {
    mkdir -p "$image"/{app,tmp,usr/local/bin,var/lib/auto-ai-router,etc/ssl/certs}
    cp -a "$work/out/bin/." "$image/usr/local/bin/"
    chown 65532:65532 "$image/var/lib/auto-ai-router"
    cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/" 2> /dev/null || :
    # Those of the cc image: libc and its parts, libgcc. Anything else would be missing there.
    ldd "$work/auto-ai-router" | grep -oE '/[^ ]+' | while read -r library; do
        case $library in
        */libc.so.6 | */libm.so.6 | */libgcc_s.so.1 | */libpthread.so.0 | */libdl.so.2 | */ld-linux-*) ;;
        *) fail "the image has no $library" ;;
        esac
        install -D "$(realpath "$library")" "$image$library"
    done
    cat > "$image/app/config.yaml" << 'END'
server: {master_key: sk-0123456789abcdef, drain_timeout: 5s}
credentials: [{name: nobody, api_key: sk-upstream-0123456789, base_url: "http://127.0.0.1:9"}]
END
    mount --bind "$image" "$image"
    mount -o remount,bind,ro "$image"
    mount -t tmpfs tmpfs "$image/tmp"
    mount -t tmpfs -o uid=65532,mode=700 tmpfs "$image/var/lib/auto-ai-router"
}

live() {
    mapfile -t version < <(words RUN)
    as_nonroot "${version[@]}" > /dev/null || fail "the last RUN"
    as_nonroot /usr/local/bin/auto_ai_router version > /dev/null || fail "the link"
    mapfile -t start < <(words ENTRYPOINT && grep -oE '^CMD .*' Dockerfile | grep -oE '"[^"]*"' | tr -d '"')
    mapfile -t check < <(grep -A1 '^HEALTHCHECK' Dockerfile | grep -oE '"[^"]*"' | tr -d '"')
    ! as_nonroot "${check[@]}" 2> /dev/null || fail "healthy before it starts"
    STATE_DIRECTORY=/var/lib/auto-ai-router exec chroot --userspec=65532:65532 "$image" "${start[@]}" \
        > "$work/log" 2>&1 &
    router=$!
    for _ in $(seq 100); do
        ! as_nonroot "${check[@]}" 2> /dev/null || break
        sleep 0.1
    done
    as_nonroot "${check[@]}" || fail "never healthy"
    ! grep -q '"level":"error"' "$work/log" || fail "it complains"
    echo "a read-only root, no shell, nobody's user: it serves and is healthy ... ok"
    kill -s "$(sed -n 's/^STOPSIGNAL SIG//p' Dockerfile)" "$router"
    wait "$router" || fail "exit code $? at a stop"
    echo "it leaves with 0 when it is stopped ... ok"
}

context
build
assemble
live
echo "image: passed"
