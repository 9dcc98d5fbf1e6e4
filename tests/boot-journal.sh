#!/bin/bash
# Journals of a guest whose power goes while it writes: replayed by us and by e2fsck, with the same outcome.
# The power goes where QEMU stops; the guest is stopped, its disk copied, and goes on, until it is killed.
# shellcheck disable=SC2317  # functions are called through check and check_boot
. "$(dirname "$0")/boot/lib.sh"
. "$(dirname "$0")/ext/lib.sh"
needs_tool qemu-system-x86_64 debugfs e2fsck tune2fs dumpe2fs

REPLAY=$BUILD/tests/ext/replay
root_offset=$((65570 * 512))
patience=240
cuts=4

# ---- the guest ----

make_guest() { # LAYOUT TUNE2FS-OPTION...
    local layout=$1
    shift
    "$SRC/scripts/standin" "$standin" || return
    : >empty
    "$MKCHR" "$layout" guest.img --kernel "$standin/BOOTX64.EFI" --bios "$standin/bios" \
        --root-file empty:rw/keep-writing || return
    [[ $# == 0 ]] || tune2fs "$@" "guest.img?offset=$root_offset"
}

rounds() { # that the guest has said it has done
    tr -d '\r' <"$serial" | sed -n 's/^.*standin: writing \([0-9]*\)$/\1/p' | tail -n 1
}

wait_for_rounds() { # N
    local deadline=$((SECONDS + patience))
    until [[ $(rounds) && $(rounds) -ge $1 ]]; do
        qemu_runs && ((SECONDS < deadline)) || return
        sleep 0.1
    done
}

# cut-1.img ... with the root partition as it was when everything stopped.
cut_the_power() {
    local disk_options=format=raw,cache=writeback cut done=0 length
    length=$(od -An -tu4 -j $((446 + 16 + 12)) -N 4 --endian=little guest.img)
    start_qemu guest.img bios "$(free_port)"
    for ((cut = 1; cut <= cuts; cut++)); do
        wait_for_rounds $((done + 50)) || { tail -n 5 "$serial"; return 1; }
        done=$(rounds)
        sleep "0.$((RANDOM % 9))"       # anywhere between two of its words
        if ((cut < cuts)); then kill -STOP "$qemu_pid"; else kill -9 "$qemu_pid"; fi
        dd if=guest.img of="cut-$cut.img" bs=512 skip=$((root_offset / 512)) count="$length" conv=sparse status=none
        truncate -s $((length * 512)) "cut-$cut.img"
        ((cut == cuts)) || kill -CONT "$qemu_pid"
    done
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
}

# ---- the judgement ----

needs_recovery() { dumpe2fs -h "$1" 2>/dev/null | grep -q needs_recovery; }

replays() { # IMAGE
    cp "$1" ours.img
    if ! "$REPLAY" ours.img >replay.out || ! grep -qE '^transactions [1-9]' replay.out; then
        cat replay.out
        return 1
    fi
    # The guest's files are there.
    debugfs -R 'cat /rw/store/log' ours.img 2>/dev/null | grep -q '^round '
}

agrees() { # IMAGE
    cp "$1" theirs.img
    e2fsck_replays theirs.img -y -E journal_only && same_blocks ours.img theirs.img || return
    cp "$1" checked.img
    e2fsck_replays checked.img -fy && same_files ours.img checked.img
}

# Bytes that each replay has changed on the disk.
changed=()

# Where nothing but the two superblocks is another, all had been in place already.
replay_was_needed() {
    local bytes
    for bytes in "${changed[@]}"; do
        if ((bytes > 4096)); then return; fi
    done
    return 1
}

judge() { # NAME LAYOUT TUNE2FS-OPTION...
    local name=$1 cut
    shift
    check "$name: a guest that writes" make_guest "$@"
    check_boot "$name: its power goes $cuts times" bios cut_the_power
    for ((cut = 1; cut <= cuts; cut++)); do
        if [[ ! -e cut-$cut.img ]]; then
            skip "$name, cut $cut" 'there is no image'
            continue
        fi
        check "$name, cut $cut: the journal is to be replayed" needs_recovery cut-$cut.img
        check "$name, cut $cut: our replay" replays cut-$cut.img
        diag "$(cat replay.out)"
        changed+=("$(sed -n 's/.* changed //p' replay.out)")
        check "$name, cut $cut: e2fsck -fn is clean" is_clean ours.img
        check "$name, cut $cut: e2fsck agrees" agrees cut-$cut.img
        rm -f cut-$cut.img
    done
}

judge ext3 7.19
judge ext4 7.20
check 'without the replay, files would have been lost' replay_was_needed
judge 'ext4 with data in the journal' 7.20 -E mount_opts=data=journal -O orphan_file
done_testing
