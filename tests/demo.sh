# What `make demo` types in the booted kernel. Each command is shown as typed; the first that fails ends it.
show() {
    printf '\n# %s\n' "$1"
    sh -c "$1" || { echo "(exit status $?)"; exit 1; }
}
say() { printf '\n--- %s ---\n' "$1"; }

say "a blank disk of 20 GiB, and what setup would do with it"
show 'lsblk -o NAME,SIZE,FSTYPE /dev/xvdf'
show 'dmtool setup /dev/xvdf --dry-run'
say "setup (at a terminal it asks first; --yes answers)"
show 'dmtool setup /dev/xvdf --yes'
show 'dmtool status'
show 'dmtool status docker/thinpool'
show 'lvs -a -o name,size,attr,seg_monitor,profile docker'
show 'dmsetup table docker-thinpool'
say "a thin volume in the pool, written and read back"
show 'lvcreate -qq --virtualsize 1G --thinpool docker/thinpool --name demo'
show 'echo "kept by the pool" | dd of=/dev/docker/demo conv=fsync status=none'
show 'blockdev --flushbufs /dev/docker/demo; head -c 16 /dev/docker/demo; echo'
show 'dmtool status'
say "a second setup changes nothing"
show 'dmtool setup /dev/xvdf'
