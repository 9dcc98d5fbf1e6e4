#!/bin/bash
# The image of a running machine is replaced, removed or moved: commands act on the file that they are given, and
# nothing that the router has written is lost.  Guests are started, and not waited for.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 qemu-img jq

make_images() {
    "$MKCHR" 7.19 stock.img && "$CHRIMG" convert stock.img lab.qcow2 && "$CHRIMG" snapshot -c one lab.qcow2 &&
        cp lab.qcow2 new.qcow2
}

boot() { "$CHRIMG" boot --ready none --accel tcg "$@"; }

# What the router has written: a snapshot that its file alone holds.
boots() { boot lab.qcow2 --name r && "$CHRIMG" snapshot -c mine lab.qcow2; }

replace() { cp new.qcow2 other.qcow2 && mv other.qcow2 lab.qcow2 && sum=$(sha256sum <lab.qcow2); }

same_machine_runs() { # PID
    [[ $(vm_pid r) == "$1" ]] || { echo "r is not process $1 any more"; "$CHRIMG" ps -a; return 1; }
}

ps_shows_it() { # IMAGE
    "$CHRIMG" ps && "$CHRIMG" ps | grep -qE "^r .* \(replaced\) /.*/$1$" && [[ $(vm_value r .image_replaced) == true ]]
}

# says_leaving_r STATUS PATTERN COMMAND...: and the machine is as it was.
says_leaving_r() {
    local pid status=$1 pattern=$2
    pid=$(vm_pid r)
    shift 2
    "$CHRIMG" "$@" >said 2>&1
    [[ $? == "$status" ]] && grep -qE -- "$pattern" said && same_machine_runs "$pid" && return
    cat said
    return 1
}

new_file_is_nobodys() {
    boot lab.qcow2 --name r2 && "$CHRIMG" stop --now r2
}

# All of it, and it is whole.
is_saved_as() { # IMAGE
    qemu-img check -q "$1" && qemu-img snapshot -l "$1" | grep -qw mine
}

stop_saves_it() {
    "$CHRIMG" stop --now --json r >said 2>&1 || { cat said; return 1; }
    cat said
    [[ $(grep '^ *"saved"' said) == *"$PWD/lab-saved.qcow2"* ]] && is_saved_as lab-saved.qcow2 &&
        [[ $(sha256sum <lab.qcow2) == "$sum" ]]
}

moved_is_not_lost() {
    boots && mv lab.qcow2 moved.qcow2 || return
    says_leaving_r 0 'of the running r' snapshot -c more moved.qcow2 &&
        says_leaving_r 1 'where none is by now' snapshot -a one moved.qcow2 &&
        "$CHRIMG" stop --now r && is_saved_as moved.qcow2 && [[ ! -e lab-saved-2.qcow2 ]]
}

# Its overlay is worth nothing without the image, and is good again with it.
image_below_an_overlay() {
    boot stock.img --name r && cp stock.img other.img && touch -d 'now + 5 seconds' other.img &&
        mv other.img stock.img || return
    says_leaving_r 1 'hint: chrimg stop r saves' restart r && "$CHRIMG" stop --now r &&
        mv stock-saved.img stock.img && boot stock.img --name r && "$CHRIMG" stop --now --forget r
}

nothing_is_saved_of_a_throwaway() {
    boot lab.qcow2 --name r --throwaway && replace && "$CHRIMG" stop --now r && [[ ! -e lab-saved-2.qcow2 ]]
}

no_room_no_end() {
    boot small/lab.qcow2 --name r && rm small/lab.qcow2 || return
    head -c 1T /dev/zero >small/full 2>/dev/null
    says_leaving_r 1 'r goes on.*cannot be saved' stop r && rm small/full && "$CHRIMG" stop --now r &&
        qemu-img check -q small/lab-saved.qcow2
}
export -f no_room_no_end boot says_leaving_r same_machine_runs vm_pid vm_value
export CHRIMG

# What cannot be tidied away is said while the machine still runs.
open_folder() {
    boot lab.qcow2 --name r && chmod 755 "$runtime/r" || return
    says_leaving_r 1 'others may use it' stop --now r && says_leaving_r 1 'others may use it' restart --now r &&
        chmod 700 "$runtime/r" && "$CHRIMG" stop --now r
}

check 'images can be made' make_images
check 'it boots' boots
in_use='lab.qcow2 is in use: instance r runs from it'
check 'convert over its image names it' says_leaving_r 1 "$in_use" convert -f stock.img lab.qcow2
check 'fatten, too' says_leaving_r 1 "$in_use" fatten -f stock.img -o lab.qcow2
check 'and says what to do' says_leaving_r 1 'hint: chrimg stop r first' convert -f stock.img lab.qcow2
check 'its image is replaced' replace
check 'ps shows that' ps_shows_it lab.qcow2
check 'a disk alone is applied to the new file, and to no machine' says_leaving_r 0 '^lab.qcow2: applied snapshot one$' \
    snapshot -a one --no-keep lab.qcow2
check 'a snapshot is taken of the new file' says_leaving_r 0 '^lab.qcow2: created snapshot two$' snapshot -c two lab.qcow2
check 'and deleted there' says_leaving_r 0 '^lab.qcow2: deleted snapshot two$' snapshot -d two lab.qcow2
check 'memory is nobody'"'"'s' says_leaving_r 1 'no machine .* runs from lab.qcow2' snapshot -c m --with-memory lab.qcow2
check 'another machine may run from the new file' new_file_is_nobodys
sum=$(sha256sum <lab.qcow2)
check 'restart is refused while the machine still runs' says_leaving_r 1 'where another one is by now' restart r
check 'with --now, too' says_leaving_r 1 'hint: chrimg stop r saves' restart --now r
check 'stop saves what it ran from' stop_saves_it
check 'it can be forgotten' "$CHRIMG" stop --forget r
check 'an image that is moved is not lost' moved_is_not_lost
cp new.qcow2 lab.qcow2
check 'a throwaway machine leaves nothing' nothing_is_saved_of_a_throwaway
check 'the image below an overlay is saved, and fits' image_below_an_overlay
check 'folders that others may use are seen before the machine ends' open_folder
if unshare -rm true 2>/dev/null; then
    check 'without room to save it, the machine goes on' unshare -rm bash -c "mkdir small &&
        mount -t tmpfs -o size=$((2 * $(stat -c %s lab.qcow2) + (32 << 20))) none small &&
        cp lab.qcow2 small && no_room_no_end"
else
    skip 'without room to save it, the machine goes on' 'no mount namespace can be made here'
fi
done_testing
