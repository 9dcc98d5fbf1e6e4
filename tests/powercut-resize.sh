#!/usr/bin/env bash
# Power cuts, kills and failing disks at every step of resize, which changes the image's
# size too: the next run of chrimg finds the old image or the new one.
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/powercut/lib.sh"

variants=(all durable random:1 torn:1 torn:2)

# Start over with image OLD of this format: start/ as the folder was, live/ to be changed.
fresh() {
    rm -rf start live log
    mkdir start live
    cp --sparse=always old start/disk
    cp --sparse=always old live/disk
}

# record_resize [VARIABLE=VALUE...]
record_resize() {
    record "$@" -- resize --tables-only disk 300M
}

# What a reader sees in the folder $1, and what is there after the next run that writes.
recovers() {
    local folder=$1
    rm -f seen
    if ! "$CHRIMG" convert -O raw "$folder/disk" seen >report 2>&1; then
        echo "convert fails: $(tail -n 2 report)"
        return 1
    fi
    same seen old.raw || same seen new.raw || { echo "read as neither old nor new"; return 1; }
    if ! "$CHRIMG" resize --tables-only "$folder/disk" 300M >report 2>&1; then
        echo "the next resize fails: $(tail -n 2 report)"
        return 1
    fi
    rm -f seen
    "$CHRIMG" convert -O raw "$folder/disk" seen >/dev/null 2>&1
    same seen new.raw || { echo "the next run gives another disk"; return 1; }
    if [ "$format" = qcow2 ]; then qemu-img check -q "$folder/disk" || return 1; fi
    [ "$(ls -A "$folder")" = disk ] || { echo "left over: $(ls -A "$folder")"; return 1; }
}

# A disk that is full or failing once: an error, and the old image or the new one.
fault_everywhere() {
    local kind=$1 step problem
    for ((step = 1; step <= steps; step++)); do
        fresh
        record_resize FAULT_AT="$step" FAULT="$kind" >/dev/null 2>stderr
        case $?:$kind in
        1:E* | 137:KILL)
            if judged recovers live; then
                ok "$format: $kind at step $step of $steps"
            else
                not_ok "$format: $kind at step $step of $steps" "$problem"
            fi
            ;;
        *) not_ok "$format: $kind at step $step of $steps" "its status is another" "$(cat stderr)" ;;
        esac
    done
}

# A kill when all is written and nothing says so yet; a router then runs on the larger disk.
keeps_what_a_router_wrote() {
    local step written=$((200 << 20))
    for ((step = steps; step > 0; step--)); do
        fresh
        record_resize FAULT_AT="$step" FAULT=KILL >/dev/null 2>&1
        [ -e live/.disk.chrimg-undo ] && cmp -s live/disk new.raw && break
    done
    [ "$step" -gt 0 ] || { echo "no kill leaves the new image and the undo file"; return 1; }
    printf 'a file of the router' | dd of=live/disk bs=1 seek="$written" conv=notrunc status=none
    cp --sparse=always live/disk kept
    if "$CHRIMG" resize --tables-only live/disk 300M >report 2>&1; then
        echo "it was taken back"
        return 1
    fi
    grep -q "offset $written was written by somebody else" report || { cat report; return 1; }
    if "$CHRIMG" info live/disk >report 2>&1; then echo "it is read as the old one"; return 1; fi
    same live/disk kept
}

"$MKCHR" 7.19 old.raw
# Nothing here looks into the root partition; without its 20 MiB all goes faster.
fallocate --punch-hole --offset $((65570 * 512)) --length $((192478 * 512)) old.raw
cp --sparse=always old.raw new.raw
check "the good image" "$CHRIMG" resize --tables-only new.raw 300M
check "is another" eval '! same old.raw new.raw'

for format in raw qcow2; do
    "$CHRIMG" convert -f -O "$format" old.raw old >/dev/null
    fresh
    check "$format: recorded" record_resize
    mv log log.good
    steps=$("$REPLAY" --count log.good)
    check "$format: there are steps to cut at ($steps)" test "$steps" -gt 5
    recording_is_whole "$format: " resize
    rm -rf everything durably
    cut_everywhere "$format" recovers
    fault_everywhere KILL
    fault_everywhere EIO
    if [ "$format" = raw ]; then
        check "raw: what a router wrote behind the old end is not cut off" keeps_what_a_router_wrote
    fi
done

done_testing
