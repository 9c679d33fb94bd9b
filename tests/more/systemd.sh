#!/usr/bin/env bash
# Boots a real systemd in a container of its own and tells it the story of an edge: systemd.sh DIR.
#
# DIR is where packages.sh has left the packages, and keeps a Debian root that can boot. In there story.sh installs,
# starts, reloads, upgrades, breaks and stops; this script only boots and shows what came of it. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ "$(id -u)" = 0 ] || { echo "systemd.sh: only root can boot a container" >&2 && exit 1; }
keep=$(realpath "$1")
work=$(mktemp -d)
root=$work/root
trap 'rm -rf --one-file-system "$work"' EXIT

[ -e "$keep/bootable/etc/debian_version" ] || {
    rm -rf "$keep/bootable"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,curl,procps \
        bookworm "$keep/bootable" > "$keep/debootstrap.log" 2>&1 || { tail "$keep/debootstrap.log" >&2 && exit 1; }
}
cp -a "$keep/bootable" "$root"
cp "$keep/built/"*.deb tests/more/story.sh "$root/"
cat > "$root/etc/systemd/system/story.service" << 'END'
[Unit]
Description=The story of an edge
After=multi-user.target dbus.service
[Service]
Type=oneshot
ExecStart=/bin/bash /story.sh
StandardOutput=file:/said
StandardError=file:/said
ExecStopPost=/bin/systemctl poweroff --force
TimeoutStartSec=240
END
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -s ../story.service "$root/etc/systemd/system/default.target.wants/story.service"

# The hierarchy of today: with the older one, a systemd in a container does not wait for a process it has not started.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
timeout 300 systemd-nspawn --quiet --directory "$root" --machine "router-story-$$" --register=no --keep-unit --private-network --boot \
    < /dev/null > "$work/console" 2>&1 || { tail -n 20 "$work/console" >&2 && exit 1; }
cat "$root/said"
grep -qx 'story: passed' "$root/said"
