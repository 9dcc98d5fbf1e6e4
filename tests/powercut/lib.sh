# Runs under the recorder, and what was recorded: sourced after lib.sh by tests/powercut*.sh.
# A run works in live/, a copy of start/, and its log is in $WORK/log.
# shellcheck shell=bash

RECORDER=$BUILD/tests/powercut/recorder.so
REPLAY=$BUILD/tests/powercut/replay
# The recorder stands before the sanitizers' own functions, which they can live with.
export ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0"

same() {
    "$REPLAY" --same "$1" "$2" >/dev/null
}

names_in() {
    find "$1" -mindepth 1 -printf "%P\n" | sort | tr "\n" " "
}

# record [VARIABLE=VALUE...] -- ARGUMENT...: chrimg in live/ under the recorder.
record() {
    local variables=()
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    (cd live && exec env LD_PRELOAD="$RECORDER" POWERCUT_DIR=. POWERCUT_LOG="$WORK/log" \
        ${variables[@]+"${variables[@]}"} "$CHRIMG" "$@")
}

# Of log.good.
what_is_step() {
    "$REPLAY" --list log.good | sed -n "s/^$1 //p" | sed 's/ inode [0-9]*//'
}
