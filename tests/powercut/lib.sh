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

# recording_is_whole PREFIX COMMAND: log.good holds all that was written, and when COMMAND
# says that it is done, that is durable.  Leaves everything/ and durably/.
recording_is_whole() {
    local steps
    steps=$("$REPLAY" --count log.good)
    rm -rf everything durably
    "$REPLAY" log.good start everything "$steps" all
    check "$1the recorder missed nothing" diff -r everything live
    "$REPLAY" log.good start durably "$steps" durable
    check "$1when $2 says done, it is durable" diff -r durably live
}

declare -A has_passed=()

# judged PREDICATE FOLDER ARGUMENT...: what PREDICATE says about FOLDER, which it may change;
# what is wrong is in $problem.  Cuts and faults at different steps leave few different
# states, and each of them is judged once: a folder with the names and contents of one that
# has passed passes.
judged() {
    local state
    state="$1 ${*:3} $("$REPLAY" --digest "$2")" || { problem="no digest of $2"; return 1; }
    problem=
    if [ "${has_passed[$state]:-}" ]; then return 0; fi
    "$@" >problem.text || { problem=$(cat problem.text); return 1; }
    has_passed[$state]=yes
}

# cut_everywhere TITLE PREDICATE ARGUMENT...: all variants of every step of log.good;
# PREDICATE is asked about cut/, and says what is wrong.
cut_everywhere() {
    local title=$1 steps step variant problem problems
    shift
    # What is expected of a state is another after another recording.
    has_passed=()
    steps=$("$REPLAY" --count log.good)
    for ((step = 0; step <= steps; step++)); do
        problems=
        for variant in "${variants[@]}"; do
            rm -rf cut
            if ! problem=$("$REPLAY" log.good start cut "$step" "$variant" 2>&1) ||
                ! judged "$1" cut "${@:2}"; then
                problems+="$variant: $problem"$'\n'
            fi
        done
        if [ -z "$problems" ]; then
            ok "$title: cut after step $step of $steps"
        else
            not_ok "$title: cut after step $step of $steps ($(what_is_step "$step"))" "$problems"
        fi
    done
}
