#!/bin/sh
# First process of a booted guest. Its root is this machine's own file tree (hostfs), so nothing may be
# written before an overlay with a tmpfs on top stands in between; everything after runs on the overlay.
# From the kernel's command line: DMTOOL_HARNESS (the folder of this file), DMTOOL_BOOT (bare or systemd).
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko"
mount -t tmpfs -o mode=0755,size=90% tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root || {
    echo "@@boot-failed no overlay, so nothing is run"
    poweroff -f
}
cd /mnt/root || poweroff -f
mkdir -p "lib/modules"
ln -sfn "/usr/lib/uml/modules/$(uname -r)" "lib/modules/$(uname -r)"
cat > etc/udev/rules.d/01-dmtool-disks.rules <<'RULES'
KERNEL=="ubdb", SYMLINK+="xvdf"
KERNEL=="ubdc", SYMLINK+="xvdg"
KERNEL=="ubdd", SYMLINK+="xvdh"
KERNEL=="ubde", SYMLINK+="xvdi"
KERNEL=="ubdf", SYMLINK+="xvdj"
KERNEL=="ubdg", SYMLINK+="xvdk"
RULES

if [ "$DMTOOL_BOOT" = systemd ]; then
    exec "$DMTOOL_HARNESS/systemd.sh"
fi
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=0755 tmpfs run
# Without the variable udevadm does nothing in a chroot.
exec env SYSTEMD_IGNORE_CHROOT=1 chroot . /bin/sh "$DMTOOL_HARNESS/init.sh"
