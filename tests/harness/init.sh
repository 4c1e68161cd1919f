#!/bin/sh
# Second process of a bare guest: modules, udev, then one shell command per line of the console until it
# closes. After each command a line "@@end STATUS" goes back.
export HOME=/root LC_ALL=C.UTF-8
modprobe -a dm-mod dm-thin-pool loop
mkdir -p /run/lock /run/udev
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
/lib/systemd/systemd-udevd --daemon 2>/dev/null
udevadm trigger --subsystem-match=block --settle
stty raw -echo
echo "@@ready"
while read -r line; do
    sh -c "$line" </dev/null 2>&1
    echo "@@end $?"
done
poweroff -f
