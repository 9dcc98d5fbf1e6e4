#!/usr/bin/env bash
# Power cuts, kills and failing disks at every single step of what changes a qcow2 in
# place: snapshots created, applied and deleted, fatten --in-place, check --repair.
#
# Each command runs once under the recorder; then every moment of that run is made again
# as a power cut could have left it.  What must hold: no errors for qemu-img, every
# snapshot as it was, the disk as before or as after, and no leaks after a repair.
export IN_MEMORY=yes
. "$(dirname "$0")/qcow2/lib.sh"
. "$(dirname "$0")/powercut/lib.sh"
needs_tool qemu-img qemu-io jq

variants=(all durable random:1 random:2 torn:1 torn:2)

# Start over with image FROM: start/ as the folder was, live/ for the program to change.
fresh() {
    rm -rf start live log
    mkdir start live
    cp "$from" start/disk.qcow2
    cp "$from" live/disk.qcow2
}

# ---- what must hold ----

# state.TAG is what a snapshot holds; what is new is the disk as it was.
state_of() { # TAG
    if [ -e "state.$1" ]; then echo "state.$1"; else echo before.raw; fi
}

disk_is() { # IMAGE RAW [TAG]
    rm -f seen.raw
    raw_by_qemu "$1" seen.raw "${@:3}" && same seen.raw "$2"
}

# The disk is the old or the new one, each snapshot what it was; none is lost but the
# one that is being deleted.
contents_hold() { # IMAGE
    local tag found
    disk_is "$1" before.raw || disk_is "$1" after.raw || { echo "the disk is neither old nor new"; return 1; }
    found=$(tags_by_qemu "$1")
    for tag in $found; do
        disk_is "$1" "$(state_of "$tag")" "$tag" || { echo "snapshot $tag differs"; return 1; }
    done
    for tag in $kept_tags; do
        grep -qx "$tag" <<<"$found" || { echo "snapshot $tag is lost"; return 1; }
    done
}

# What chrimg is to make of folder $1, whatever happened.  $2, leaks or all, is the repair
# that the image needs.
holds() {
    local image=$1/disk.qcow2
    if [ "$from" != damaged.qcow2 ]; then not_corrupt "$image" || return 1; fi
    contents_hold "$image" || return 1
    if ! "$CHRIMG" check --repair "$2" "$image" >report 2>&1; then
        echo "check --repair $2 fails: $(tail -n 3 report)"
        return 1
    fi
    sound "$image" || return 1
    if grep -q '^repaired' report; then contents_hold "$image" || return 1; fi
    [ "$(ls -A "$1")" = disk.qcow2 ] || { echo "left over: $(ls -A "$1")"; return 1; }
}

# ---- cutting ----

# What a run with FAULT at some step did wrong, by its exit status and stderr.
wrong_reaction() { # FAULT STATUS
    case $1 in
    KILL) [ "$2" -eq 137 ] || echo "exit status $2, not killed" ;;
    *)
        [ "$2" -eq 1 ] || echo "exit status $2, not 1"
        grep -q '^chrimg: ..' stderr || echo "no message"
        ;;
    esac
    case $1 in
    *EIO) grep -q 'Input/output error' stderr || echo "the error is not named" ;;
    *ENOSPC) grep -q 'No space left on device' stderr || echo "the error is not named" ;;
    esac
}

fault_everywhere() { # TITLE REPAIR ARGUMENT...
    local title=$1 repair=$2 steps step kind problem problems variables
    shift 2
    steps=$("$REPLAY" --count log.good)
    for kind in KILL EIO ENOSPC lasting-EIO; do
        for ((step = 1; step <= steps; step++)); do
            fresh
            variables=("FAULT_AT=$step" "FAULT=${kind#lasting-}")
            case $kind in lasting-*) variables+=(FAULT_LASTING=1) ;; esac
            (record "${variables[@]}" -- "$@") >stdout 2>stderr
            problems=$(wrong_reaction $kind $?)
            judged holds live "$repair" || problems+="$problem (after $kind)"
            if [ -z "$problems" ]; then
                ok "$title: $kind at step $step of $steps"
            else
                not_ok "$title: $kind at step $step of $steps ($(what_is_step "$step"))" "$problems"
                diag "$(cat stderr)"
            fi
        done
    done
}

# everywhere TITLE IMAGE REPAIR KEPT-TAGS ARGUMENT...: cuts and faults of `chrimg
# ARGUMENT...` on IMAGE; KEPT-TAGS must be there before, after and in between.
everywhere() {
    local title=$1 repair=$3 steps
    from=$2 kept_tags=$4
    shift 4
    rm -f before.raw after.raw
    raw_by_qemu "$from" before.raw
    fresh
    check "$title: recorded" record -- "$@"
    mv log log.good
    raw_by_qemu live/disk.qcow2 after.raw
    steps=$("$REPLAY" --count log.good)
    check "$title: there are steps to cut at ($steps)" test "$steps" -ge 4
    recording_is_whole "$title: " it
    cut_everywhere "$title" holds "$repair"
    fault_everywhere "$title" "$repair" "$@"
}

# ---- the images ----

make_images() {
    "$MKCHR" 7.17 disk.img
    # Nothing here looks into the root partition; without its 20 MiB all goes faster.
    fallocate --punch-hole --offset $((65570 * 512)) --length $((192478 * 512)) disk.img
    "$CHRIMG" fatten disk.img -o fat.img >/dev/null
    qemu-img convert -f raw -O qcow2 -o cluster_size=4k disk.img good.qcow2
    qemu-img snapshot -c oldest good.qcow2
    cp --sparse=always disk.img state.oldest
    qemu-io -f qcow2 -c 'write -P 1 40M 200k' good.qcow2 >/dev/null
    qemu-img snapshot -c older good.qcow2
    raw_by_qemu good.qcow2 state.older
    qemu-io -f qcow2 -c 'write -P 2 40M 100k' -c 'write -P 3 41M 64k' good.qcow2 >/dev/null

    # Leaks, and a GPT copy that is damaged.
    cp good.qcow2 leaky.qcow2
    put_big_endian leaky.qcow2 "$(refcount_place leaky.qcow2 1900)" 2 1
    truncate -s $((1901 * 4096)) leaky.qcow2
    qemu-io -f qcow2 -c 'write -P 9 528 4' leaky.qcow2 >/dev/null
    # A data cluster that is used and counts as free.
    cp good.qcow2 damaged.qcow2
    put_big_endian damaged.qcow2 "$(refcount_place damaged.qcow2 \
        $(($(entry_offset damaged.qcow2 "$(first_l2_entry damaged.qcow2)") / 4096)))" 2 0
}

make_images
check "the good image is sound" sound good.qcow2
check_exit "the leaky image has leaks" 3 'leaked' qemu-img check leaky.qcow2
check_exit "the damaged image has errors" 2 'ERROR' qemu-img check damaged.qcow2

everywhere "create" good.qcow2 leaks "older oldest" snapshot -c new disk.qcow2
check_equal "create: it is there" "$(tags_by_qemu everything/disk.qcow2 | tail -n 1)" new
everywhere "apply" good.qcow2 leaks "older oldest" snapshot -a oldest disk.qcow2
check "apply: the disk is that of then" same after.raw disk.img
everywhere "apply --no-keep" good.qcow2 leaks "older oldest" snapshot -a oldest --no-keep disk.qcow2
check "apply --no-keep: the disk is that of then" same after.raw disk.img
everywhere "delete" good.qcow2 leaks oldest snapshot -d older disk.qcow2
check_equal "delete: it is gone" "$(tags_by_qemu everything/disk.qcow2)" oldest
everywhere "fatten" good.qcow2 leaks "older oldest" fatten --in-place disk.qcow2
check "fatten: the boot partition is the same as in a raw image" \
    cmp -n $((65536 * 512)) after.raw fat.img
everywhere "repair leaks and GPT" leaky.qcow2 all "older oldest" check --repair all disk.qcow2
check "repair leaks and GPT: the disk is changed" eval '! same before.raw after.raw'
everywhere "repair refcounts" damaged.qcow2 all "older oldest" check --repair all disk.qcow2
check "repair refcounts: the disk is not changed" same before.raw after.raw
done_testing
