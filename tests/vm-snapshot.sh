#!/bin/bash
# Snapshots of an image while its guest writes, and what comes back of them: the contents are those of the moment.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 qemu-img debugfs e2fsck jq curl

make_images() {
    make_asking life count-seconds keep-writing && "$CHRIMG" fatten --require-bios life.img -o life.qcow2
}

life_boots() { "$CHRIMG" boot life.qcow2 --name life --bios --timeout "$patience" && web_answers life; }

last_second() { tr -d '\r' <"$(serial_log life)" | sed -n 's/^.*standin: second \([0-9]*\)$/\1/p' | tail -n 1; }

wait_for_second() { # N
    local deadline=$((SECONDS + patience))
    until (($(last_second) >= $1)); do ((SECONDS < deadline)) || return; sleep 0.2; done
}

# Between these two seconds of the guest's.
snapshot_while_writing() { # TAG OPTION...
    local tag=$1
    shift
    wait_for_second $(($(last_second) + 2)) || return
    last_second >"$tag.from"
    "$CHRIMG" snapshot -c "$tag" "$@" life.qcow2 || return
    echo $(($(last_second) + 1)) >"$tag.to"
    qemu-img snapshot -U -l life.qcow2 | grep -qw "$tag"
}

is_between() { # SECOND TAG
    (($1 >= $(cat "$2.from") && $1 <= $(cat "$2.to"))) ||
        { echo "second $1, the snapshot was taken at $(cat "$2.from") to $(cat "$2.to")"; return 1; }
}

same_tag_is_refused() { "$CHRIMG" snapshot -c live life.qcow2; [[ $? == 1 ]]; }

id_of() { qemu-img snapshot -U -l life.qcow2 | awk -v tag="$1" '$2 == tag { print $1 }'; } # TAG

ids_are_named() {
    "$CHRIMG" snapshot -c "$(id_of live)" life.qcow2 >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q "$(id_of live) is the ID of the snapshot live already" said &&
        ! grep -qe ' -d ' said
}

# What changes while it is read is not compared, and not called damaged.
changing_disk_is_not_compared() {
    "$CHRIMG" snapshot --diff live life.qcow2 >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q 'life.qcow2 is in use: instance life writes to it' said &&
        grep -q 'hint: chrimg snapshot -c b life.qcow2, then chrimg snapshot --diff live b life.qcow2' said
}

# What the guest said first when its counting went back, if it did.
second_after_return() {
    tr -d '\r' <"$(serial_log life)" | sed -n 's/^.*standin: second \([0-9]*\)$/\1/p' |
        awk '$1 <= last { print; exit } { last = $1 }'
}

# The guest wakes up in the middle of its counting, and does not notice.
memory_comes_back() {
    local pid deadline=$((SECONDS + patience))
    pid=$(vm_pid life)
    wait_for_second $(($(cat memory.to) + 3)) || return
    "$CHRIMG" snapshot -a memory --no-keep life.qcow2 || return
    [[ $(vm_pid life) == "$pid" ]] || { echo "process $pid is now $(vm_pid life)"; return 1; }
    until [[ $(second_after_return) ]]; do ((SECONDS < deadline)) || return; sleep 0.2; done
    is_between $(($(second_after_return) - 1)) memory
}

deleted_while_running() {
    "$CHRIMG" snapshot -d "$(id_of memory)" life.qcow2 >said && cat said &&
        grep -q 'deleted snapshot memory (ID' said && ! qemu-img snapshot -U -l life.qcow2 | grep -qw memory
}

# The disk alone: the guest starts anew, on the disk as it was.
disk_comes_back() {
    local second
    "$CHRIMG" snapshot -a live life.qcow2 && wait_until_it_says life 'seconds so far: [0-9]+.*$' || return
    second=$(tr -d '\r' <"$(serial_log life)" | sed -n 's/^.*seconds so far: //p' | head -n 1)
    is_between "$second" live && wait_for_second $((second + 2))
}

# After a polite stop, nothing is to be replayed or mended, and no line is missing.
contents_are_right() {
    "$CHRIMG" stop life && is_off life && qemu-img check -q life.qcow2 || return
    root_file life.qcow2 qcow2 /rw/store/seconds >seconds
    if [[ $(cat seen.status) != 0 ]] || grep -q 'recovering journal' seen.fsck; then cat seen.fsck; return 1; fi
    seq "$(wc -l <seconds)" | cmp - seconds
}

# ---- memory of a machine that is another one by now ----

# Its memory is its own alone, and that can be read at once.
own_size_is_there() { # TAG
    "$CHRIMG" snapshot -l --json life.qcow2 | jq -e --arg tag "$1" '.snapshots[] | select(.tag == $tag) |
        .exclusive >= .vm_state_size and .vm_state_size > 1000000'
}

takes_memory() { # TAG OPTION...
    "$CHRIMG" boot life.qcow2 --name other --bios --ready none "${@:2}" && "$CHRIMG" snapshot -c "$1" --with-memory life.qcow2 &&
        own_size_is_there "$1" && "$CHRIMG" stop --now other
}

boots_anew() { # OPTION...
    "$CHRIMG" boot life.qcow2 --name other --timeout "$patience" "$@" && web_answers other
}

# refused_as_it_was PATTERN OPTION...: of -a; the machine goes on, and the snapshots are what they were.
refused_as_it_was() {
    local pid before
    pid=$(vm_pid other)
    before=$(qemu-img snapshot -U -l life.qcow2)
    "$CHRIMG" snapshot -a "${@:2}" life.qcow2 >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q "$1" said && grep -q 'other goes on as it was' said || return
    [[ $(vm_pid other) == "$pid" && $(qemu-img snapshot -U -l life.qcow2) == "$before" ]] && web_answers other
}

# ---- tests ----

check 'an image can be made' make_images
check 'it boots' life_boots
check 'a snapshot of the disk while the guest writes' snapshot_while_writing live
check 'a second one of the same name is refused' same_tag_is_refused
check 'an ID is no tag for a second one' ids_are_named
check 'a snapshot with memory' snapshot_while_writing memory --with-memory
check '--diff with the disk of a running machine is refused' changing_disk_is_not_compared
check 'the memory comes back, and the guest goes on from there' memory_comes_back
check 'a snapshot is deleted while the guest writes' deleted_while_running
check 'the disk comes back, and the guest starts from there' disk_comes_back
check 'after a polite stop its contents are right' contents_are_right
check 'stop --forget' "$CHRIMG" stop --forget life
check 'nothing is left' nothing_is_left life
check 'the memory of a small machine' takes_memory small --mem 256M
check 'a larger machine boots' boots_anew --bios --mem 320M
check 'memory of another size: the machine goes on as it was' \
    refused_as_it_was 'hint: .*chrimg stop other, then chrimg snapshot -a small life.qcow2' small
check 'and so without a snapshot to keep' refused_as_it_was 'memory, CPUs and firmware' small --no-keep
if [[ -e $ovmf_code && -e $ovmf_vars ]]; then
    check 'it stops' "$CHRIMG" stop other
    check 'with UEFI it boots' boots_anew --uefi --mem 256M
    check 'memory that was taken with BIOS: it is said' refused_as_it_was 'small was taken with BIOS.* runs UEFI' small
    check 'with UEFI, memory is kept' "$CHRIMG" snapshot -c uefi --with-memory life.qcow2
    check 'and comes back' "$CHRIMG" snapshot -a uefi life.qcow2
else
    skip 'memory that was taken with BIOS' 'OVMF is not installed'
fi
check 'stop --forget of it' "$CHRIMG" stop --forget other
done_testing
