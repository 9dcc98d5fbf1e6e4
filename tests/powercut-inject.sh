#!/usr/bin/env bash
# Power cuts, kills and failing disks at every single step of inject, on raw and qcow2.
#
# inject runs once under the recorder; then every moment of that run is made again as a
# power cut could have left it.  The next run of chrimg finds the old or the new
# autorun.scr, whole; e2fsck finds nothing; and inject can be done again.
export IN_MEMORY=yes
. "$(dirname "$0")/qcow2/lib.sh"
. "$(dirname "$0")/powercut/lib.sh"
needs_tool e2fsck debugfs qemu-img

variants=(all durable random:1 torn:1)

printf '# old\n/system identity set name=old\n' >old.scr
{ printf '# new\n'; for ((i = 0; i < 100; i++)); do echo "/ip dns static add name=h$i address=192.0.2.1"; done; } >new.rsc
"$MKCHR" 7.19 full.img --autorun old.scr
# Nothing here looks into the package; without its 20 MiB all goes faster.
partition full.img 2 root.part
ext_sectors root.part var/pdb/system/image | awk 'NR > 1 && $1 != last + 1 { print first, last }
    NR == 1 || $1 != last + 1 { first = $1 } { last = $1 } END { print first, last }' |
    while read -r first last; do
        fallocate --punch-hole --offset $((($(partition_start full.img 2) + first) * 512)) \
            --length $(((last - first + 1) * 512)) full.img
    done

# Start over with IMAGE: start/ as the folder was, live/ for the program to change.
fresh() {
    rm -rf start live log
    mkdir start live
    cp --sparse=always "$image" "start/$image"
    cp --sparse=always "$image" "live/$image"
}

# ---- what must hold ----

# e2fsck finds nothing on the root partition of FOLDER's image, as its next reader sees it.
root_is_sound() {
    local raw=$1/$image output
    if [ "$image" = disk.qcow2 ]; then
        rm -f seen.img
        raw_by_qemu "$1/$image" seen.img || return 1
        raw=seen.img
    fi
    partition "$raw" 2 root.part
    output=$(e2fsck -fn root.part 2>&1) || { echo "e2fsck: $output"; return 1; }
}

# The state in folder $1: readers first, then a writer.
recovers() {
    local folder=$1 output
    if ! "$CHRIMG" cat "$folder/$image:/rw/autorun.scr" >seen.scr 2>report; then
        echo "cat fails: $(tail -n 2 report)"
        return 1
    fi
    cmp -s seen.scr old.scr || cmp -s seen.scr wanted.scr ||
        { echo "autorun.scr is neither the old nor the new one"; return 1; }
    if ! "$CHRIMG" rm "$folder/$image:/SHOW_LICENSE" >report 2>&1; then
        echo "the next change fails: $(tail -n 2 report)"
        return 1
    fi
    root_is_sound "$folder" || return 1
    "$CHRIMG" cat "$folder/$image:/rw/autorun.scr" >seen.again
    cmp -s seen.scr seen.again || { echo "a reader and a writer see different scripts"; return 1; }
    if ! "$CHRIMG" inject --replace "$folder/$image" "$WORK/new.rsc" >report 2>&1; then
        echo "inject fails: $(tail -n 2 report)"
        return 1
    fi
    "$CHRIMG" cat "$folder/$image:/rw/autorun.scr" >seen.again
    cmp -s seen.again wanted.scr || { echo "inject again gives another script"; return 1; }
    if [ "$image" = disk.qcow2 ]; then
        "$CHRIMG" check --repair leaks "$folder/$image" >report 2>&1 ||
            { echo "check: $(tail -n 2 report)"; return 1; }
        output=$(qemu-img check "$folder/$image" 2>&1) || { echo "qemu-img: $output"; return 1; }
    fi
    [ "$(names_in "$folder")" = "$image " ] || { echo "left over: $(names_in "$folder")"; return 1; }
}

# ---- cutting ----

fault_everywhere() { # TITLE KIND...
    local title=$1 steps step kind problem problems status
    shift
    steps=$("$REPLAY" --count log.good)
    for kind; do
        for ((step = 1; step <= steps; step++)); do
            fresh
            local variables=("FAULT_AT=$step" "FAULT=${kind#lasting-}")
            case $kind in lasting-*) variables+=(FAULT_LASTING=1) ;; esac
            (record "${variables[@]}" -- inject --replace "$image" "$WORK/new.rsc") >stdout 2>stderr
            status=$?
            problems=
            if [ "$kind" = KILL ]; then
                [ $status -eq 137 ] || problems+="exit status $status, not killed"$'\n'
            elif [ $status -ne 1 ] || ! grep -q '^chrimg: ..' stderr; then
                problems+="exit status $status, $(cat stderr)"$'\n'
            fi
            judged recovers live || problems+=$problem$'\n'
            if [ -z "$problems" ]; then
                ok "$title: $kind at step $step of $steps"
            else
                not_ok "$title: $kind at step $step of $steps ($(what_is_step "$step"))" "$problems"
            fi
        done
    done
}

for image in disk.img disk.qcow2; do
    if [ "$image" = disk.img ]; then
        cp --sparse=always full.img disk.img
    else
        qemu-img convert -c -O qcow2 full.img disk.qcow2
        qemu-img snapshot -c kept disk.qcow2
    fi
    fresh
    check "$image: recorded" record -- inject --replace "$image" "$WORK/new.rsc"
    mv log log.good
    "$CHRIMG" cat "live/$image:/rw/autorun.scr" >wanted.scr
    check "$image: the script is there" cmp <(tail -n +3 wanted.scr) new.rsc
    steps=$("$REPLAY" --count log.good)
    check "$image: there are steps to cut at ($steps)" test "$steps" -gt 5
    "$REPLAY" log.good start everything "$steps" all
    check "$image: the recorder missed nothing" same "everything/$image" "live/$image"
    "$REPLAY" log.good start durably "$steps" durable
    check "$image: when inject says wrote, it is durable" same "durably/$image" "live/$image"
    rm -rf everything durably
    cut_everywhere "$image" recovers
    fault_everywhere "$image" KILL EIO lasting-ENOSPC
done

done_testing
