# The documented procedure for a direct-lvm pool, as an operator would put it into a script: what setup is
# measured against.
set -e
pvcreate -q "$1"
vgcreate -q docker "$1"
lvcreate -q --wipesignatures y -n thinpool docker -l 95%VG
lvcreate -q --wipesignatures y -n thinpoolmeta docker -l 1%VG
lvconvert -q -y --zero n -c 512K --thinpool docker/thinpool --poolmetadata docker/thinpoolmeta
cat > /etc/lvm/profile/docker-thinpool.profile <<'PROFILE'
activation {
  thin_pool_autoextend_threshold=80
  thin_pool_autoextend_percent=20
}
PROFILE
lvchange -q --metadataprofile docker-thinpool docker/thinpool
if lvs -o+seg_monitor docker/thinpool | grep -q 'not monitored'; then
    lvchange -q --monitor y docker/thinpool
    lvs -o+seg_monitor docker/thinpool
fi
