#!/bin/sh
# Installs the Debian packages that are missing for what is named: build, kernel (tests in a booted kernel), deb
# (the package and its test), lint, torture (what takes long).
# As root with apt-get; otherwise it names them and fails.
set -e
build="gcc libc6-dev libdevmapper-dev libblkid-dev clang libclang-dev pkg-config"
kernel="user-mode-linux kmod udev lvm2 dmeventd thin-provisioning-tools e2fsprogs xfsprogs btrfs-progs
    cryptsetup-bin mdadm parted fdisk iproute2 procps util-linux bsdutils systemd dbus jq
    busybox-static docker.io containerd runc strace ansible-core"
deb="make dpkg-dev sudo"
lint="shellcheck zsh fish groff-base"
torture="valgrind g++"

wanted=""
for what in "$@"; do
    case $what in
        build) wanted="$wanted $build" ;;
        kernel) wanted="$wanted $kernel" ;;
        deb) wanted="$wanted $deb" ;;
        lint) wanted="$wanted $lint" ;;
        torture) wanted="$wanted $torture" ;;
        *) echo "packages.sh: no such group: $what" >&2; exit 2 ;;
    esac
done
command -v dpkg-query >/dev/null || {
    echo "This is no Debian system; what is needed, by its Debian names: $wanted"
    exit 0
}
missing=""
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "These Debian packages are missing; install them with: sudo apt-get install$missing" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
