#!/bin/sh
# Runs fuzz targets one after the other: fuzz.sh SECONDS [TARGET...], all targets without names.
# The seeds are in fuzz/corpus; what a run adds to them is kept in fuzz/found, and a finding in fuzz/artifacts.
# The end is a line for each target: executions, edges covered, findings. Exit code 1 if there is a finding.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift
sanitizer=${FUZZ_SANITIZER:-none}
# The instrumentation is a part of stable Rust that has to be asked for so. libseccomp is linked as a shared library: the
# static flags of .cargo/config.toml are not for an instrumented program.
export RUSTC_BOOTSTRAP=1 LIBSECCOMP_LINK_TYPE=dylib
# Targets that need files make them in memory, where there is such a file system.
TMPDIR=$(mktemp -d "$(test -w /dev/shm && echo /dev/shm || echo /tmp)/rvol-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM

[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v '^rvol-fuzz$')
cargo fuzz build --sanitizer "$sanitizer"
triple=$(rustc -vV | sed -n 's/^host: //p')
failed=0
summary=
for target; do
    found=fuzz/found/$target artifacts=fuzz/artifacts/$target log=$TMPDIR/$target.log
    mkdir -p "$found" "$artifacts"
    seeds="$found fuzz/corpus/$target"
    [ "$target" != config ] || seeds="$seeds tests/configs"
    echo "fuzz: $target for $seconds s"
    # The built program, not `cargo fuzz run`, which would look at the build again.
    # shellcheck disable=SC2086 # a list of directories
    code=0
    "fuzz/target/$triple/release/$target" $seeds -artifact_prefix="$artifacts/" -max_total_time="$seconds" \
        -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1 || code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    line="$target: ${runs:-?} executions, ${edges:-?} edges"
    if [ $code = 0 ]; then
        line="$line, no finding"
    else
        failed=1
        line="$line, FINDING (exit code $code): see $artifacts"
        tail -n 30 "$log"
    fi
    summary="$summary$line
"
    echo "fuzz: $line"
done
printf '%s' "$summary"
exit $failed
