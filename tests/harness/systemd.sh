#!/bin/sh
# Second process of a guest with systemd: the working directory is the overlay's root, which becomes the
# root of everything. The payload is DMTOOL_PAYLOAD, a script, run by a oneshot unit once the machine is up.
DMTOOL_UNITS=$(echo "$DMTOOL_UNITS" | tr , ' ')
: > etc/fstab
# The tree under test may lie in /tmp, which tmpfiles would empty at boot.
mkdir -p etc/tmpfiles.d
: > etc/tmpfiles.d/tmp.conf
for unit in systemd-resolved systemd-timesyncd systemd-networkd networking apt-daily.timer \
    apt-daily-upgrade.timer systemd-firstboot getty@tty1 getty@tty0 serial-getty@ttyS0 console-getty \
    systemd-logind e2scrub_reap systemd-update-utmp systemd-hwdb-update ldconfig \
    tmp.mount systemd-modules-load systemd-random-seed systemd-pstore docker docker.socket containerd; do
    case $unit in *.*) ;; *) unit=$unit.service ;; esac
    case " $DMTOOL_UNITS " in *" $unit "*) continue ;; esac
    ln -sfn /dev/null "etc/systemd/system/$unit"
done
mkdir -p etc/systemd/system/multi-user.target.wants
for unit in $DMTOOL_UNITS; do
    [ ! -f "lib/systemd/system/$unit" ] || ln -sfn "/lib/systemd/system/$unit" "etc/systemd/system/multi-user.target.wants/$unit"
done
cat > etc/systemd/system/dmtool-payload.service <<UNIT
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh $DMTOOL_PAYLOAD
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
Environment=HOME=/root LC_ALL=C.UTF-8
UNIT
ln -sfn ../dmtool-payload.service etc/systemd/system/multi-user.target.wants/dmtool-payload.service
# The unit under test, as `make install` and `systemctl enable` leave it, and the file system of the register.
case " $DMTOOL_UNITS " in *" dmtool-activate.service "*)
    repository=${DMTOOL_HARNESS%/tests/harness}
    mkdir -p var/lib/dmtool
    echo "LABEL=dmtool-var /var/lib/dmtool ext4 defaults 0 0" > etc/fstab
    sed "s|/usr/local/sbin/dmtool|$DMTOOL_BINARY|" "$repository/systemd/dmtool-activate.service" \
        > etc/systemd/system/dmtool-activate.service
    ln -sfn ../dmtool-activate.service etc/systemd/system/multi-user.target.wants/dmtool-activate.service
    ;;
esac
mkdir -p .old
umount /proc
mount --make-rprivate /
pivot_root . .old
exec env -i PATH="$PATH" container= chroot . /lib/systemd/systemd --unit=multi-user.target --show-status=no --log-level=err
