#!/bin/sh
# Fuzzes each target of tests/fuzz, or those that are named, for FUZZ_SECONDS (60): a line for each, and at the end how
# many inputs were tried and how many broke a promise. What is found beyond what is kept stays in target/fuzz/found;
# with "keep" as the first word nothing is tried, and what of that sees more of dmtool is kept, in as few inputs as do.
set -eu
cd "$(dirname "$0")/.."
built=target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release
keep=false
if [ "${1:-}" = keep ]; then
    keep=true
    shift
fi
if [ $# = 0 ]; then
    cd tests/fuzz/corpus
    set -- *
    cd ../../..
fi

# Inputs that broke a promise once have a name of their own, and stay.
keep_best() {
    best=target/fuzz/best
    rm -rf "$best"
    mkdir -p "$best" "target/fuzz/found/$1"
    find "tests/fuzz/corpus/$1" -type f -name '*-*' -exec cp {} "$best" \;
    nice -n 10 "$built/$1" -set_cover_merge=1 -use_counters=0 -timeout=5 "$best" "tests/fuzz/corpus/$1" "target/fuzz/found/$1" 2> target/fuzz/log ||
        { tail -n 20 target/fuzz/log; exit 1; }
    rm -rf "tests/fuzz/corpus/$1"
    mv "$best" "tests/fuzz/corpus/$1"
    echo "$1: $(find "tests/fuzz/corpus/$1" -type f | wc -l) inputs kept"
}

tried=0
crashes=0
for target; do
    if $keep; then
        keep_best "$target"
        continue
    fi
    mkdir -p "target/fuzz/found/$target" target/fuzz/crashes
    crashed=0
    nice -n 10 "$built/$target" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
        -use_value_profile=1 -dict=tests/fuzz/words.dict -artifact_prefix="target/fuzz/crashes/$target-" \
        "target/fuzz/found/$target" "tests/fuzz/corpus/$target" > target/fuzz/log 2>&1 || crashed=1
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' target/fuzz/log)
    echo "$target: ${count:=0} inputs tried, $crashed crashes"
    if [ $crashed = 1 ]; then
        grep -E -A 3 '^thread .* panicked|ERROR: libFuzzer|Test unit written' target/fuzz/log | cut -c 1-1000
    fi
    tried=$((tried + count))
    crashes=$((crashes + crashed))
done
$keep || echo "$tried inputs tried, $crashes crashes"
[ $crashes = 0 ]
