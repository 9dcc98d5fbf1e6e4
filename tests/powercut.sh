#!/usr/bin/env bash
# Power cuts, kills and failing disks at every single step of fatten.
#
# fatten runs once under the recorder; then every moment of that run is made again
# as a power cut could have left it, and the next run of chrimg has to cope.
# Thousands of runs, each with its fsyncs.
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/powercut/lib.sh"

variants=(all durable)
for seed in 1 2 3; do variants+=("random:$seed" "torn:$seed" "torn:1$seed"); done

# Start over: start/ as the folder was, live/ for the program to change.
fresh() {
    rm -rf start live log
    mkdir start live
    cp --sparse=always old.img start/disk.img
    cp --sparse=always old.img live/disk.img
    if [ -n "${1:-}" ]; then
        cp "$1" start/out.img
        cp "$1" live/out.img
    fi
}

# Steps that only make things faster or neater, so that a failure of one may be
# made up for: a file without a name, copying within the kernel, early writing.
may_fail() {
    case $(what_is_step "$1") in
    tmpfile* | copy* | writeback* | allocate*) return 0 ;;
    *) return 1 ;;
    esac
}

# ---- what must hold after a cut ----

# The state of a program that works in place, in folder $1.
in_place_recovers() {
    local folder=$1
    if ! "$CHRIMG" info "$folder/disk.img" >report 2>&1; then
        echo "info fails: $(tail -n 2 report)"
        return 1
    fi
    # What a reader sees is the old image or the new one, and both fatten to the new.
    rm -f seen.img
    if ! "$CHRIMG" fatten "$folder/disk.img" -o seen.img >report 2>&1; then
        echo "fatten -o fails: $(tail -n 2 report)"
        return 1
    fi
    same seen.img new.img || { echo "read as neither the old nor the new image"; return 1; }
    if ! "$CHRIMG" fatten --in-place "$folder/disk.img" >report 2>&1; then
        echo "fatten --in-place fails: $(tail -n 2 report)"
        return 1
    fi
    same "$folder/disk.img" new.img || { echo "the second run gives another image"; return 1; }
    [ "$(names_in "$folder")" = "disk.img " ] || { echo "left over: $(names_in "$folder")"; return 1; }
}

# Without an undo file beside it, the image itself is the old or the new one.
whole_or_undone() {
    same "$1/disk.img" old.img || same "$1/disk.img" new.img || [ -e "$1/.disk.img.chrimg-undo" ] ||
        { echo "neither old nor new, and no undo file"; return 1; }
}

# An output beside the input: the input as it was, the output whole or not there.
# $2: what the output may be besides, or "".
output_is_whole() {
    local folder=$1 before=$2
    same "$folder/disk.img" old.img || { echo "the input changed"; return 1; }
    if [ -e "$folder/out.img" ]; then
        same "$folder/out.img" new.img || { [ -n "$before" ] && same "$folder/out.img" "$before"; } ||
            { echo "the output is there and not whole"; return 1; }
    elif [ -n "$before" ]; then
        echo "the former output is lost"
        return 1
    fi
}

output_recovers() {
    local folder=$1
    output_is_whole "$folder" "$2" || return 1
    if ! "$CHRIMG" fatten --force "$folder/disk.img" -o "$folder/out.img" >report 2>&1; then
        echo "the next run fails: $(tail -n 2 report)"
        return 1
    fi
    same "$folder/out.img" new.img || { echo "the next run gives another image"; return 1; }
    same "$folder/disk.img" old.img || { echo "the next run changes the input"; return 1; }
    [ "$(names_in "$folder")" = "disk.img out.img " ] ||
        { echo "left over: $(names_in "$folder")"; return 1; }
}

# ---- cutting ----

# fault_everywhere TITLE KIND... -- FORMER PREDICATE ARGUMENT... -- CHRIMG-ARGUMENT...
#
# FORMER is an output that is there before, or "".  With "KIND" as EIO, ENOSPC, KILL
# or lasting-EIO; PREDICATE is asked about live/ after the run that failed.
fault_everywhere() {
    local title=$1 kinds=() former predicate=() steps step kind problem problems status
    shift
    while [ "$1" != -- ]; do kinds+=("$1"); shift; done
    former=$2
    shift 2
    while [ "$1" != -- ]; do predicate+=("$1"); shift; done
    shift
    steps=$("$REPLAY" --count log.good)
    for kind in "${kinds[@]}"; do
        for ((step = 1; step <= steps; step++)); do
            fresh "$former"
            local variables=("FAULT_AT=$step" "FAULT=${kind#lasting-}")
            case $kind in lasting-*) variables+=(FAULT_LASTING=1) ;; esac
            (record "${variables[@]}" -- "$@") >stdout 2>stderr
            status=$?
            problems=
            if [ "$kind" = KILL ]; then
                [ $status -eq 137 ] || problems+="exit status $status, not killed"$'\n'
            else
                if [ $status -eq 0 ] && may_fail "$step" && same live/out.img new.img; then
                    ok "$title: $kind at step $step of $steps: done without"
                    continue
                fi
                [ $status -eq 1 ] || problems+="exit status $status, not 1"$'\n'
                grep -q '^chrimg: ..' stderr || problems+="no message"$'\n'
                case $kind in
                *EIO) grep -q 'Input/output error' stderr ;;
                *) grep -q 'No space left on device' stderr ;;
                esac || problems+="the message does not name the error: $(cat stderr)"$'\n'
            fi
            judged "${predicate[0]}" live "${predicate[@]:1}" || problems+=$problem$'\n'
            if [ -z "$problems" ]; then
                ok "$title: $kind at step $step of $steps"
            else
                not_ok "$title: $kind at step $step of $steps ($(what_is_step "$step"))" "$problems"
            fi
        done
    done
}

# ---- in place ----

"$MKCHR" 7.17 old.img
# Nothing here looks into the root partition; without its 20 MiB all goes faster.
fallocate --punch-hole --offset $((65570 * 512)) --length $((192478 * 512)) old.img
"$CHRIMG" fatten old.img -o new.img >/dev/null || not_ok "the good image"
check "fattening changes the image" eval '! same old.img new.img'

fresh
check "in place, recorded" record -- fatten --in-place disk.img
check "in place gives what -o gives" same live/disk.img new.img
mv log log.good
steps=$("$REPLAY" --count log.good)
check "there are steps to cut at ($steps)" test "$steps" -gt 5
recording_is_whole "" fatten
rm -rf everything durably

in_place_holds() {
    whole_or_undone "$1" && in_place_recovers "$1"
}
cut_everywhere "in place" in_place_holds
fault_everywhere "in place" KILL lasting-EIO lasting-ENOSPC -- "" in_place_holds -- \
    fatten --in-place disk.img

# One failure, and the disk is well again: the image must be as it was at once, unless
# the change was complete and the removal of the undo file is what failed.
in_place_undone_at_once() {
    same "$1/disk.img" old.img || same "$1/disk.img" new.img ||
        { echo "the change was not taken back"; return 1; }
    in_place_recovers "$1"
}
fault_everywhere "in place" EIO ENOSPC -- "" in_place_undone_at_once -- fatten --in-place disk.img

# ---- a second interruption, while the first is being taken back ----

middle=$((steps - 4))
fresh
(record FAULT_AT=$middle FAULT=KILL -- fatten --in-place disk.img) 2>/dev/null
check "killed in the middle, the undo file is there" test -e live/.disk.img.chrimg-undo
rm -rf start
cp -r --sparse=always live start
check "a second run, recorded" record -- fatten --in-place disk.img
check "it comes to the same end" same live/disk.img new.img
mv log log.first
# record() appended to the log of the killed run's process; only a log of its own will do.
rm -rf live
cp -r --sparse=always start live
rm -f log
check "the second run again, with a log of its own" record -- fatten --in-place disk.img
mv log log.good
cut_everywhere "taking back" in_place_holds

# ---- to another file ----

fresh
check "to another file, recorded" record -- fatten disk.img -o out.img
mv log log.good
recording_is_whole "" fatten
rm -rf everything durably
cut_everywhere "to another file" output_recovers ""
fault_everywhere "to another file" KILL -- "" output_recovers "" -- fatten disk.img -o out.img

nothing_is_left() {
    same "$1/disk.img" old.img || { echo "the input changed"; return 1; }
    [ "$(names_in "$1")" = "disk.img " ] || { echo "left over: $(names_in "$1")"; return 1; }
}
fault_everywhere "to another file" EIO ENOSPC -- "" nothing_is_left -- fatten disk.img -o out.img

# ---- over an output that is there ----

printf "former %500d" {1..10} >former
fresh former
check "over another file, recorded" record -- fatten --force disk.img -o out.img
mv log log.good
cut_everywhere "over another file" output_recovers former
fault_everywhere "over another file" KILL EIO ENOSPC -- former output_recovers former -- \
    fatten --force disk.img -o out.img

done_testing
