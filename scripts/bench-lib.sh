# Measuring for scripts/bench-*: sourced, with BUILD and RUNS as arguments.
# shellcheck shell=bash
set -eu

src=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$src/build}" && pwd)
# Used by those who source this.
# shellcheck disable=SC2034
runs=${2:-11} chrimg=$build/chrimg
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

needs() { # TOOL...
    local tool
    for tool; do
        if ! command -v "$tool" >/dev/null; then
            echo "bench: $tool is missing; scripts/install-deps installs it" >&2
            exit 2
        fi
    done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
missed=0

# ---- measuring ----

# timed COMMAND...: its wall time in microseconds, on descriptor 3.
timed() {
    local started=${EPOCHREALTIME/[.,]/}
    "$@" >/dev/null
    echo $((${EPOCHREALTIME/[.,]/} - started)) >&3
}

median() {
    sort -n "$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

# measure NAME PREPARE COMMAND [NAME PREPARE COMMAND]...: medians in the files NAME.us.
# PREPARE is done before each run and not measured.
measure() {
    local run i arguments=("$@")
    for ((i = 0; i < ${#arguments[@]}; i += 3)); do : >"${arguments[i]}.times"; done
    for ((run = 0; run < runs; run++)); do
        for ((i = 0; i < ${#arguments[@]}; i += 3)); do
            ${arguments[i + 1]}
            timed "${arguments[i + 2]}" 3>>"${arguments[i]}.times"
        done
    done
    for ((i = 0; i < ${#arguments[@]}; i += 3)); do
        median "${arguments[i]}.times" >"${arguments[i]}.us"
    done
}

ms() {
    awk '{ printf "%.1f", $1 / 1000 }' "$1.us"
}

ratio() { # A B: A's time over B's
    awk -v a="$(cat "$1.us")" -v b="$(cat "$2.us")" 'BEGIN { printf "%.3f", a / b }'
}

peak_kib() {
    /usr/bin/time -f %M -o peak "$@" >/dev/null
    cat peak
}

line() {
    printf '%-44s %12s %14s %14s  %s\n' "$@"
}

# goal VALUE LIMIT: "met" or "missed"
goal() {
    if awk -v v="$1" -v l="$2" 'BEGIN { exit !(v <= l) }'; then
        verdict=met
    else
        verdict=MISSED
        missed=1
    fi
}
