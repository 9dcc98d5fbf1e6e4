# Helpers for test programs in shell, which speak TAP.  Use:
#
#   . "$(dirname "$0")/lib.sh"          (../lib.sh from a folder below)
#   check "a name" command arguments
#   done_testing
#
# Sourcing it leaves the caller in an empty folder, $WORK, which goes away at
# the end; BUILD and SRC are absolute.  A script that ends without
# done_testing, for whatever reason, counts as failed.
# shellcheck shell=bash

set -u

SRC=${SRC:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
BUILD=$(cd "${BUILD:-$SRC/build}" && pwd) || exit 1
CHRIMG=$BUILD/chrimg
MKCHR=$BUILD/mkchr
export SRC BUILD CHRIMG MKCHR
# Messages and sort orders of the tools that judge, the same everywhere.
export LC_ALL=C.UTF-8 TZ=UTC
# Tools of the file systems live there, and a user's PATH may lack them.
PATH=$PATH:/usr/sbin:/sbin

# A script that writes a lot sets IN_MEMORY=yes before it sources this.
if [ "${IN_MEMORY:-no}" = yes ] && [ -w /dev/shm ] &&
    [ "$(df -k --output=avail /dev/shm | tail -n 1)" -gt 3000000 ]; then
    TMPDIR=/dev/shm
    export TMPDIR
fi
WORK=$(mktemp -d "${TMPDIR:-/tmp}/test.XXXXXX") || exit 1
tap_count=0
tap_failed=0
tap_finished=no

tap_end() {
    local status=$?
    cd /
    rm -rf "$WORK"
    if [ "$tap_finished" = no ]; then
        echo "Bail out! the script stopped after test $tap_count with status $status"
        exit 1
    fi
}
trap tap_end EXIT
trap 'exit 130' INT TERM HUP
cd "$WORK" || exit 1

# Programs built with sanitizers end with a status that no test expects.
export ASAN_OPTIONS=${ASAN_OPTIONS:-exitcode=86:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:exitcode=86}

# Whether FILE was built with AddressSanitizer (which wants address space without limit).
under_sanitizer() {
    grep -q __asan_init "$1"
}

# diag TEXT...: lines for whoever reads a failure.
diag() {
    printf '%s\n' "$*" | sed 's/^/# /'
}

ok() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

# not_ok NAME [TEXT...]
not_ok() {
    tap_count=$((tap_count + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $1"
    shift
    if [ $# -gt 0 ]; then diag "$@"; fi
}

# skip NAME REASON: one test that cannot run here.
skip() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

# skip_all REASON: nothing in this script can run here.
skip_all() {
    echo "1..0 # SKIP $1"
    tap_finished=yes
    exit 0
}

# needs_tool TOOL...: skip the script where one of them is missing.
needs_tool() {
    local tool
    for tool; do
        if ! command -v "$tool" >/dev/null; then skip_all "$tool is not installed"; fi
    done
}

# check NAME COMMAND...: passes when the command exits with 0; its output is
# shown otherwise.
check() {
    local name=$1 output status
    shift
    output=$("$@" 2>&1)
    status=$?
    if [ $status -eq 0 ]; then
        ok "$name"
    else
        not_ok "$name" "exit status $status of: $*"
        diag "$output"
    fi
}

# check_equal NAME GOT WANTED
check_equal() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1" "got:    $2"
        diag "wanted: $3"
    fi
}

# check_exit NAME STATUS PATTERN COMMAND...: passes when the command exits with
# STATUS and something in its output matches the extended regular expression.
check_exit() {
    local name=$1 wanted=$2 pattern=$3 output status
    shift 3
    output=$("$@" 2>&1)
    status=$?
    if [ "$status" -eq "$wanted" ] && grep -qE -- "$pattern" <<<"$output"; then
        ok "$name"
    else
        not_ok "$name" "exit status $status (wanted $wanted, and /$pattern/) of: $*"
        diag "$output"
    fi
}

# Print the plan and end the script.
done_testing() {
    echo "1..$tap_count"
    tap_finished=yes
    if [ "$tap_failed" -gt 0 ]; then exit 1; fi
    exit 0
}
