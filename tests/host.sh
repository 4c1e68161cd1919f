#!/bin/sh
# Runs a command (the kernel tests) on this host's own device-mapper, as root, on loop devices that it names
# /dev/xvdf to /dev/xvdk through a udev rule; takes both away at the end. The files are in DMTOOL_TEST_DIR
# (default /var/tmp) and must not be on a tmpfs that is short.
set -e
rules=/run/udev/rules.d/01-dmtool-test.rules
dir=$(mktemp -d "${DMTOOL_TEST_DIR:-/var/tmp}/dmtool-test-XXXXXX")
loops=""
clean() {
    for loop in $loops; do losetup -d "$loop"; done
    rm -rf "$dir" "$rules"
    udevadm control --reload
    udevadm trigger --settle --subsystem-match=block
}
test -e /dev/mapper/control || { echo "host.sh: this host has no device-mapper" >&2; exit 3; }
for name in xvdf xvdg xvdh xvdi xvdj xvdk; do
    test ! -e "/dev/$name" || { echo "host.sh: this host has a /dev/$name of its own" >&2; exit 3; }
done
test -z "$(vgs --noheadings -o vg_name docker 2>/dev/null)" || { echo "host.sh: this host has a group docker" >&2; exit 3; }
trap clean EXIT
mkdir -p /run/udev/rules.d
for disk in xvdf:4G xvdg:4G xvdh:4G xvdi:512M xvdj:300M xvdk:3T; do
    truncate -s "${disk#*:}" "$dir/${disk%:*}"
    loop=$(losetup -P -f --show "$dir/${disk%:*}")
    loops="$loops $loop"
    echo "KERNEL==\"${loop#/dev/}\", SYMLINK+=\"${disk%:*}\"" >> "$rules"
done
udevadm control --reload
udevadm trigger --settle --subsystem-match=block
DMTOOL_TEST_HOST=1 "$@"
