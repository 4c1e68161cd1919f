//! `dmtool check` on pools that no LVM knows: on loop files, and on what stands for a disk that fails.

use super::health::{found, found_and_mended, gone, run};
use super::status::loop_pool;
use crate::harness::*;

#[test]
fn a_bare_pool_that_failed() {
    in_kernel(|| {
        loop_pool("bare-pool");
        sh(
            "dmsetup message bare-pool 0 'create_thin 0' && dmsetup create t0 --table '0 204800 thin /dev/mapper/bare-pool 0' && \
            dd if=/dev/urandom of=/dev/mapper/t0 bs=64k count=10 oflag=direct conv=fsync status=none",
        );
        let before = sh("dd if=/dev/mapper/t0 bs=64k count=10 iflag=direct status=none | md5sum");
        // The same pool on a device whose writes can be made to fail.
        let words = sh("dmsetup table bare-pool");
        let words: Vec<&str> = words.split(' ').collect();
        let (metadata, data) = (words[3], words[4]);
        sh(&format!(
            "dmsetup remove --retry t0 bare-pool && dmsetup create meta --table '0 131072 linear {metadata} 0' && \
             dmsetup create bare-pool --table \"0 4194304 thin-pool /dev/mapper/meta {data} 128 32768 1 skip_block_zeroing\" && \
             dmsetup create t0 --table '0 204800 thin /dev/mapper/bare-pool 0'"
        ));
        let swap = |table: &str| {
            sh(&format!("dmsetup suspend meta && dmsetup load meta --table '{table}' && dmsetup resume meta"));
        };
        swap(&format!("0 131072 flakey {metadata} 0 0 10 1 error_writes"));
        try_sh("dd if=/dev/zero of=/dev/mapper/t0 bs=64k seek=100 count=4 oflag=direct,sync status=none");
        swap(&format!("0 131072 linear {metadata} 0"));
        found_and_mended("needs-check", "critical");
        sh("dmsetup create t0 --table '0 204800 thin /dev/mapper/bare-pool 0'");
        assert_eq!(sh("dd if=/dev/mapper/t0 bs=64k count=10 iflag=direct status=none | md5sum"), before);
        remove_with_files("t0 bare-pool meta");
    });
}

#[test]
fn the_data_device_does_not_fit() {
    in_kernel(|| {
        loop_pool("bare-pool");
        // The file was truncated under the pool, before its loop device looked again and after.
        sh("truncate -s 1G /run/files/data");
        found_and_mended("data-device-too-small", "critical");
        sh("truncate -s 32M /run/files/metadata");
        found_and_mended("data-device-too-small", "critical");
        assert_eq!(sh("stat -c %s /run/files/data /run/files/metadata"), "2147483648\n67108864");
        sh("truncate -s 1G /run/files/data && losetup -c $(losetup -nO NAME -j /run/files/data)");
        found_and_mended("data-device-too-small", "critical");
        // A table that is too long, with the pool suspended for it.
        let table = sh("dmsetup table bare-pool");
        sh(&format!(
            "dmsetup suspend bare-pool && dmsetup load bare-pool --table '{}'",
            table.replace("4194304", "8388608")
        ));
        let hint = found("data-device-too-small", "critical");
        assert_eq!(hint, "dmsetup clear bare-pool && dmsetup resume bare-pool");
        assert!(!try_sh("dmsetup resume bare-pool").0);
        // Refused, the kernel has dropped it: the pool is suspended, and nothing else.
        gone("data-device-too-small");
        found_and_mended("pool-suspended", "critical");
        assert_eq!(sh("dmsetup table bare-pool"), table);
        // One that is too short: it is live already, and every resume is refused.
        sh(&format!(
            "dmsetup suspend bare-pool && dmsetup load bare-pool --table '{}'",
            table.replace("4194304", "2097152")
        ));
        assert!(!try_sh("dmsetup resume bare-pool").0);
        found_and_mended("data-device-too-small", "critical");
        gone("pool-suspended");
        assert_eq!(sh("dmsetup table bare-pool"), table);
        remove_with_files("bare-pool");
    });
}

#[test]
fn a_loop_file_deleted_under_the_pool() {
    in_kernel(|| {
        loop_pool("bare-pool");
        sh(
            "dmsetup message bare-pool 0 'create_thin 0' && dmsetup create t0 --table '0 204800 thin /dev/mapper/bare-pool 0' && \
            dd if=/dev/urandom of=/dev/mapper/t0 bs=64k count=10 oflag=direct conv=fsync status=none",
        );
        let read = || sh("dd if=/dev/mapper/t0 bs=64k count=10 iflag=direct status=none | md5sum");
        let before = read();
        let attached = "dmsetup create t0 --table '0 204800 thin /dev/mapper/bare-pool 0'";
        for lost in ["data", "metadata", "data metadata"] {
            sh(&format!("cd /run/files && rm {lost}"));
            assert_eq!(read(), before, "it is there as long as the device is");
            found_and_mended("backing-file-missing", "critical");
            sh(attached);
            assert_eq!(read(), before, "{lost}");
        }
        // As Docker attaches them: gone with their last user.
        sh(
            "dmsetup remove --retry t0 bare-pool && udevadm settle && losetup -D && udevadm settle && cd /run/files && d=$(losetup -f --show data) && m=$(losetup -f --show metadata) && \
            dmsetup create bare-pool --table \"0 4194304 thin-pool $m $d 128 32768 1 skip_block_zeroing\" && losetup -d $d && losetup -d $m",
        );
        sh(&format!("{attached} && rm /run/files/data"));
        found_and_mended("backing-file-missing", "critical");
        sh(attached);
        assert_eq!(read(), before, "autoclear");
        remove_with_files("t0 bare-pool");
    });
}

#[test]
fn a_bare_pool_that_fills_up() {
    in_kernel(|| {
        loop_pool("bare-pool");
        sh(
            "dmsetup message bare-pool 0 'create_thin 0' && dmsetup create t0 --table '0 8388608 thin /dev/mapper/bare-pool 0'",
        );
        let hint = {
            sh(
                "(dd if=/dev/zero of=/dev/mapper/t0 bs=1M count=2100 oflag=direct status=none; echo $? >/run/written) >/dev/null 2>&1 &",
            );
            wait_until("the pool is full", || sh("dmsetup status bare-pool").contains("out_of_data_space"));
            found("data-full-queueing", "critical")
        };
        run(&hint);
        wait_until("the writer is done", || try_sh("cat /run/written").1 == "0");
        gone("data-full-queueing");
        assert!(sh("dmsetup status bare-pool").contains(" rw "));
        remove_with_files("t0 bare-pool");
    });
}
