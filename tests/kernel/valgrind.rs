//! dmtool itself under valgrind, on a real pool: what unit tests cannot reach of the foreign functions.

use crate::harness::*;

/// What it found in any process of a run goes to a file each. Memory that "possibly" is lost is not: Rust keeps its hash
/// tables and threads by pointers into their middle.
const VALGRIND: &str = "valgrind --log-file=/run/valgrind.%p --vgdb=no --leak-check=full \
                        --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect";

fn clean(words: &str) {
    sh("rm -f /run/valgrind.*");
    let (ok, stdout, stderr) = try_sh(&format!("{VALGRIND} {} {words}", env!("CARGO_BIN_EXE_dmtool")));
    // What a look waits for may take too long here.
    assert!(ok || words == "check", "dmtool {words}:\n{stdout}{stderr}");
    let said = sh("cat /run/valgrind.*");
    let runs = said.matches("ERROR SUMMARY: ").count();
    assert!(runs > 0 && said.matches("ERROR SUMMARY: 0 errors").count() == runs, "dmtool {words}:\n{said}");
}

#[test]
#[ignore = "slow: make valgrind"]
fn a_pool_from_its_beginning_to_its_end() {
    in_kernel(|| {
        clean("setup /dev/xvdf --yes");
        clean("volume create docker/thinpool v 1G --yes");
        clean("status");
        clean("check");
        clean("teardown docker/thinpool --yes --wipe-devices");
        assert_eq!(sh("dmsetup ls --target thin-pool"), "No devices found");
    });
}
