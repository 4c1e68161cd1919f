//! `dmtool resize` of a bare pool with a failure at each of its steps: by strace, which makes one system call fail or
//! wait, or by the kernel itself, for what was done to the pool's devices meanwhile. The pool runs on each time.

use super::status::loop_pool;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use std::process::{Child, Command, Stdio};

const TRACE: &str = "/run/trace";
const LOAD: &str = "DM_TABLE_LOAD";
const RESUME: &str = "DM_DEV_SUSPEND";
const CAPACITY: &str = "LOOP_SET_CAPACITY";

/// bare-pool with 2 GiB on loop files, and the volume t0 in it.
fn pool() {
    loop_pool("bare-pool");
    volume();
}

fn volume() {
    sh("dmsetup message bare-pool 0 'create_thin 0' && \
        dmsetup create t0 --table '0 2097152 thin /dev/mapper/bare-pool 0'");
}

fn remove() {
    remove_with_files("t0 bare-pool");
}

fn loop_of(file: &str) -> String {
    sh(&format!("losetup -nO NAME -j /run/files/{file}"))
}

/// So that its number can be given anew: udev may look at it still, and then it goes after that.
fn detach(device: &str) {
    sh(&format!(
        "d={device}; udevadm settle; losetup -d $d; while [ -e /sys/class/block/${{d#/dev/}}/loop ]; do sleep 0.1; done"
    ));
}

fn table() -> String {
    sh("dmsetup table bare-pool")
}

/// The pool as it was, at work.
#[track_caller]
fn runs_on(before: &str) {
    assert_eq!(table(), before);
    let info = sh("dmsetup info bare-pool");
    assert!(info.contains("ACTIVE") && info.lines().any(|line| line.ends_with("LIVE")), "{info}");
    let status = sh("dmsetup status bare-pool");
    assert!(status.contains(" rw ") && status.ends_with(|c: char| c.is_ascii_digit()), "{status}");
    // Blocks that are new each time, so that metadata is committed too.
    let at = sh("echo $(( $(date +%s%N) / 1000000 % 10000 ))");
    sh(&format!(
        "head -c 262144 /dev/urandom > /run/random && dd if=/run/random of=/dev/mapper/t0 bs=64k seek={at} oflag=direct conv=fsync,notrunc status=none && \
         dd if=/dev/mapper/t0 bs=64k skip={at} count=4 iflag=direct status=none | cmp - /run/random"
    ));
}

/// dmtool under strace, which tampers with its system calls as `inject` says. Not its children's: LVM is asked in one.
fn traced(words: &str, inject: &str) -> Child {
    sh(&format!("rm -f {TRACE}"));
    let inject = if inject.is_empty() { String::new() } else { format!("-e inject=ioctl:{inject}") };
    Command::new("sh")
        .args([
            "-c",
            &format!("exec strace -o {TRACE} -e trace=ioctl {inject} {} {words}", env!("CARGO_BIN_EXE_dmtool")),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting strace")
}

/// How a traced run ended, and what it said.
fn end(child: Child) -> (i32, String) {
    let output = child.wait_with_output().expect("waiting for strace");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Which of a run's ioctls is the first of this kind. Each run of the same command in the same state has the same.
struct Order(Vec<String>);

impl Order {
    /// Of a resize that succeeds.
    fn learn() -> Order {
        let (status, said) = end(traced("resize +64M bare-pool", ""));
        assert_eq!(status, 0, "{said}");
        Order::of_trace()
    }

    fn of_trace() -> Order {
        Order(sh(&format!("grep ^ioctl {TRACE}")).lines().map(str::to_owned).collect())
    }

    #[track_caller]
    fn number(&self, of: &str) -> usize {
        1 + self.0.iter().position(|line| line.contains(of)).unwrap_or_else(|| panic!("no {of} in {:#?}", self.0))
    }

    fn count(&self, of: &str) -> usize {
        self.0.iter().filter(|line| line.contains(of)).count()
    }

    /// That the tampering met this call.
    #[track_caller]
    fn injected(&self, of: &str) {
        let line = &self.0[self.number(of) - 1];
        assert!(line.ends_with("(INJECTED)") || line.ends_with("(DELAYED)"), "{line}");
    }
}

fn inactive_table() -> bool {
    sh("dmsetup info bare-pool").contains("INACTIVE")
}

#[test]
fn the_data_device_stays_too_small() {
    in_kernel(|| {
        pool();
        let before = table();
        // The loop device has a limit, which is seen before the first write.
        let device = loop_of("data");
        sh("dmsetup remove --retry t0 bare-pool");
        detach(&device);
        sh(&format!(
            "losetup --sizelimit 2G {device} /run/files/data && \
             dmsetup create bare-pool --table '{before}' && dmsetup create t0 --table '0 2097152 thin /dev/mapper/bare-pool 0'"
        ));
        dmtool("resize 3G bare-pool")
            .assert()
            .code(3)
            .stderr(contains(format!("{device} has a size limit of 2 GiB, and the pool's data is to have 3 GiB.")));
        assert_eq!(sh("stat -c %s /run/files/data"), "2147483648");
        runs_on(&before);
        // It begins further on in its file, which then must be longer by that.
        sh("dmsetup remove --retry t0 bare-pool");
        detach(&device);
        sh(&format!(
            "truncate -s 2049M /run/files/data && losetup --offset 1M {device} /run/files/data && \
             dmsetup create bare-pool --table '{before}' && dmsetup create t0 --table '0 2097152 thin /dev/mapper/bare-pool 0'"
        ));
        let order = Order::learn();
        assert_eq!(sh("stat -c %s /run/files/data"), (2113_u64 << 20).to_string());
        let before = table();
        // The kernel says that it has looked, and did not.
        let nth = order.number(CAPACITY);
        let (status, said) = end(traced("resize 3G bare-pool", &format!("retval=0:when={nth}")));
        let trace = Order::of_trace();
        trace.injected(CAPACITY);
        assert_eq!((status, trace.count(LOAD)), (1, 0), "{said}");
        assert!(said.contains(&format!("{device} has 2.06 GiB, and the pool needs 3 GiB of it")), "{said}");
        runs_on(&before);
        let (status, said) = end(traced("resize 3G bare-pool", &format!("error=EBUSY:when={nth}")));
        assert_eq!(status, 1, "{said}");
        assert!(said.contains(&format!("setting the capacity of {device}")), "{said}");
        runs_on(&before);
        dmtool("resize 3G bare-pool").assert().success();
        remove();
    });
}

#[test]
fn the_table_is_refused() {
    in_kernel(|| {
        pool();
        let order = Order::learn();
        let before = table();
        for (call, error, what) in
            [(LOAD, "ENOMEM", "loading a table into bare-pool"), (RESUME, "EINVAL", "resuming bare-pool")]
        {
            sh("truncate -s 2112M /run/files/data && losetup -c $(losetup -nO NAME -j /run/files/data)");
            let (status, said) =
                end(traced("resize 3G bare-pool", &format!("error={error}:when={}", order.number(call))));
            Order::of_trace().injected(call);
            assert_eq!(status, 1, "{said}");
            assert!(said.contains(what) && said.contains("bare-pool runs on with the size it had"), "{said}");
            assert!(said.contains("run the same command again"), "{said}");
            runs_on(&before);
        }
        dmtool("resize 3G bare-pool").assert().success().stdout(contains("truncate").not());
        remove();
    });
}

#[test]
fn the_kernel_refuses_the_new_table_and_takes_the_old_one_back() {
    in_kernel(|| {
        pool();
        let order = Order::learn();
        let before = table();
        let nth = order.number(RESUME);
        let run = traced("resize 3G bare-pool", &format!("delay_enter=4000000:when={nth}"));
        wait_until("the new table is loaded", inactive_table);
        sh(&format!("truncate -s 2560M /run/files/data && losetup -c {}", loop_of("data")));
        let (status, said) = end(run);
        let trace = Order::of_trace();
        trace.injected(RESUME);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("bare-pool runs on with the size it had"), "{said}");
        assert_eq!(trace.count(RESUME), 2, "the kernel left it suspended: {:#?}", trace.0);
        assert!(sh("dmesg | tail -n 20").contains("too small for target"));
        runs_on(&before);
        dmtool("resize 3G bare-pool").assert().success();
        remove();
    });
}

#[test]
fn somebody_else_grows_it_further_meanwhile() {
    in_kernel(|| {
        pool();
        let order = Order::learn();
        let larger = table().replace("0 4325376 ", "0 8388608 ");
        let nth = order.number(LOAD);
        let run = traced("resize 3G bare-pool", &format!("delay_enter=4000000:when={nth}"));
        let device = loop_of("data");
        wait_until("it is about to load", || sh(&format!("grep ^ioctl {TRACE} || true")).lines().count() + 1 >= nth);
        sh(&format!(
            "truncate -s 4G /run/files/data && losetup -c {device} && dmsetup load bare-pool --table '{larger}' && dmsetup resume bare-pool"
        ));
        let (status, said) = end(run);
        let trace = Order::of_trace();
        trace.injected(LOAD);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("bare-pool runs on with the size it had"), "{said}");
        // The table for 3 GiB went live, and no resume was possible; nor with the one for 2 GiB.
        assert_eq!((trace.count(LOAD), trace.count(RESUME)), (2, 2), "{:#?}", trace.0);
        assert!(sh("dmesg | tail -n 20").contains("too small: expected"));
        runs_on(&larger);
        remove();
    });
}

/// Takes what the file system under the files can give, but for 400 kB; ext4 keeps 4096 blocks to itself.
fn fill_the_disk() {
    sh("cd /run/files && fallocate -l $(( ($(stat -fc %f .) - 4096) * $(stat -fc %S .) - 400000 )) rest && sync");
}

#[test]
fn the_disk_under_the_files_is_full() {
    in_kernel(|| {
        pool();
        let before = table();
        fill_the_disk();
        dmtool("resize 3G bare-pool").assert().code(3).stderr(
            contains(
                "/run/files/metadata is sparse: to count what is new the kernel writes up to 1.02 MiB of metadata",
            )
            .and(contains("its file system has 16.38 MiB free")),
        );
        assert_eq!(sh("stat -c %s /run/files/data"), "2147483648");
        assert_eq!(table(), before);
        // What is asked for is enough: seen without a reserve of the file system's in the way.
        sh("rm /run/files/rest");
        let allocated = || sh("stat -c %b /run/files/metadata").parse::<u64>().expect("blocks") * 512;
        let at_first = allocated();
        dmtool("resize 1T bare-pool").assert().success();
        let (chunks, blocks) = ((1_u64 << 24) - 32768, ((4_u64 << 30) - (64 << 20)) / 4096);
        let most = (chunks.div_ceil(16320) + blocks.div_ceil(16320)) * 8192 + (1 << 20);
        let written = allocated() - at_first;
        assert!(written > most / 4 && written <= most, "{written} {most}");
        remove();
        // Where the metadata file has all its blocks, the kernel writes into them.
        pool();
        sh("fallocate -l 64M /run/files/metadata");
        fill_the_disk();
        dmtool("resize 3G bare-pool").assert().success();
        sh("rm /run/files/rest");
        runs_on(&table());
        remove();
    });
}

#[test]
fn the_metadata_device_was_made_smaller() {
    in_kernel(|| {
        pool();
        let order = Order::learn();
        let before = table();
        let device = loop_of("metadata");
        let cut = format!("truncate -s 32M /run/files/metadata && losetup -c {device}");
        let back = format!("truncate -s 64M /run/files/metadata && losetup -c {device}");
        // Before its device has looked, and after.
        for cut in ["truncate -s 32M /run/files/metadata", &cut] {
            sh(cut);
            dmtool("resize 3G bare-pool").assert().code(3).stderr(
                contains(
                    "The metadata of bare-pool is 64 MiB, and /run/files/metadata has 32 MiB: it was made smaller",
                )
                .and(contains(format!(
                    "truncate --size 67108864 /run/files/metadata && losetup --set-capacity {device}"
                ))),
            );
            assert_eq!(sh("stat -c %s /run/files/data"), (2112_u64 << 20).to_string());
            assert_eq!(table(), before);
        }
        sh(&back);
        runs_on(&before);
        // While dmtool is at work.
        let run = traced("resize 3G bare-pool", &format!("delay_enter=3000000:when={}", order.number(CAPACITY)));
        wait_until("the file is longer", || sh("stat -c %s /run/files/data") == "3221225472");
        sh(&cut);
        let (status, said) = end(run);
        let trace = Order::of_trace();
        trace.injected(CAPACITY);
        assert_eq!((status, trace.count(LOAD)), (1, 0), "{said}");
        assert!(said.contains(&format!("{device} has 32 MiB, and the pool needs 64 MiB of it")), "{said}");
        sh(&back);
        runs_on(&before);
        dmtool("resize 3G bare-pool").assert().success();
        remove();
    });
}

#[test]
fn the_file_system_under_the_files_is_read_only() {
    in_kernel(|| {
        pool();
        let before = table();
        let lengths = || sh("stat -c %s /run/files/data /run/files/metadata");
        let at_first = lengths();
        // A file system with files that are written to is not remounted: what the path leads to is covered instead.
        sh("mount --bind /run/files /run/files && mount -o remount,ro,bind /run/files");
        for words in ["3G", "--metadata +64M", "3G --metadata +64M"] {
            dmtool(&format!("resize {words} bare-pool"))
                .assert()
                .code(3)
                .stderr(contains("The file system of /run/files/").and(contains("is read-only.")));
        }
        assert_eq!(lengths(), at_first);
        runs_on(&before);
        sh("umount /run/files");
        dmtool("resize 2112M bare-pool").assert().success();
        // An error on its disk, as far as ext4 knows: Linux 6.1 does not say that nothing can be written any more.
        let (before, at_first) = (table(), lengths());
        sh("mount -o remount,errors=remount-ro /run/files && \
            echo test > /sys/fs/ext4/$(basename $(readlink -f /dev/xvdh))/trigger_fs_error");
        let (status, said) = end(traced("resize 3G bare-pool", ""));
        assert!(matches!(status, 1 | 3) && said.contains("ead-only"), "{said}");
        assert_eq!(Order::of_trace().count(LOAD), 0, "{said}");
        assert_eq!((table(), lengths()), (before, at_first));
        remove();
    });
}

/// Gone when it is looked at, and there when the list is: Docker brings the devices of its containers up again at once.
#[test]
fn a_device_that_goes_and_comes_back_is_looked_at_again() {
    in_kernel(|| {
        pool();
        let order = Order::learn();
        let nth = order.number("name=\"t0\"");
        let (status, said) = end(traced("resize +64M bare-pool", &format!("error=ENXIO:when={nth}")));
        assert_eq!(status, 0, "{said}");
        Order::of_trace().injected("name=\"t0\"");
        // One that cannot be looked at although it is there is not passed over. Every other call asks for the list.
        let before = table();
        let (status, said) = end(traced("resize +64M bare-pool", &format!("error=ENXIO:when={nth}..{}+2", nth + 20)));
        assert_eq!(status, 3, "{said}");
        assert!(said.contains("reading the status of t0"), "{said}");
        assert_eq!(table(), before);
        remove();
    });
}
