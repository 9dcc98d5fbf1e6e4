#!/usr/bin/env bash
# Two programs on one image: chrimg, qemu-img, qemu-io and QEMU refuse each other as
# they refuse themselves; and a chrimg that is killed leaves nothing behind.
# shellcheck disable=SC2317 # functions are called through check
IN_MEMORY=yes
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool qemu-img qemu-io qemu-system-x86_64 qemu-storage-daemon jq zip

BUSY='is in use by another process'
SECONDS_ALLOWED=20

# ---- who holds the image ----

holder=
release() {
    if [ -z "$holder" ]; then return; fi
    kill -CONT "$holder" 2>/dev/null
    kill "$holder" 2>/dev/null
    wait "$holder" 2>/dev/null
    holder=
}
trap 'status=$?; release; (exit $status); tap_end' EXIT

# Wait for COMMAND to succeed.
wait_for() {
    local tries
    for ((tries = 0; tries < SECONDS_ALLOWED * 50; tries++)); do
        if "$@"; then return 0; fi
        sleep 0.02
    done
    return 1
}

# Bytes of FILE that are locked, one a line; 100 and up are what its holders do, 200 and
# up what they do not share (QEMU, block/file-posix.c).  Neighbours are one range.
locked_bytes() {
    awk -v inode="$(stat -c %i "$1")" '
        { split($6, id, ":") }
        id[3] == inode { for (byte = $7; byte <= $8 && byte < 300; byte++) print byte }' /proc/locks
}
# BLK_PERM_WRITE, bit 1: somebody writes; somebody wants nobody to write.
is_written() { locked_bytes "$1" | grep -qx 101; }
is_read() { locked_bytes "$1" | grep -qx 201; }

mkdir logs
mkfifo commands
hold() { # IMAGE is_written|is_read COMMAND...: its standard input stays open
    "${@:3}" <commands >logs/holder 2>&1 &
    holder=$!
    exec 8>commands
    if wait_for "$2" "$1"; then return 0; fi
    not_ok "the image is held: $3" "$(cat logs/holder)"
}

let_go() {
    exec 8>&-
    release
    if wait_for is_free "$1"; then return 0; fi
    not_ok "the image is free again"
}
is_free() { [ -z "$(locked_bytes "$1")" ]; }

# ---- what chrimg says ----

# said_busy NAME ARGUMENT...: chrimg refuses, says so, and nothing is written.
said_busy() {
    local before
    before=$(state_here)
    check_exit "$1: refused" 1 "$BUSY" timeout $SECONDS_ALLOWED "$CHRIMG" "${@:2}"
    check "$1: nothing is written" diff <(echo "$before") <(state_here)
}

# Held by a writer: nobody reads or writes, but for who insists on reading.
held_by_writer() { # WHO IMAGE
    said_busy "held by $1: info" info "$2"
    said_busy "held by $1: check" check "$2"
    said_busy "held by $1: check --repair all" check --repair all "$2"
    said_busy "held by $1: convert" convert "$2" never.raw
    said_busy "held by $1: fatten" fatten "$2" -o never.qcow2
    said_busy "held by $1: fatten --in-place" fatten --in-place "$2"
    said_busy "held by $1: extract" extract "$2" -o never
    check_exit "held by $1: the way out" 1 'hint: stop the VM' "$CHRIMG" info "$2"
    check "held by $1: info -U reads it" "$CHRIMG" info -U "$2"
    check "held by $1: info --force-share reads it" "$CHRIMG" info --force-share --json "$2"
    check "held by $1: cp --force-share copies out of it" \
        "$CHRIMG" cp --force-share -f "$2:/rw/REBOOT" torn
    check_exit "held by $1: -U is not for copies into it" 2 'out of an image' \
        "$CHRIMG" cp -U torn "$2:/rw/torn"
    case $2 in *.qcow2) qcow2_held_by_writer "$@" ;; esac
}

qcow2_held_by_writer() {
    said_busy "held by $1: IMG@TAG" info "$2@base"
    said_busy "held by $1: snapshot -l" snapshot -l "$2"
    said_busy "held by $1: snapshot --diff" snapshot --diff base "$2"
    said_busy "held by $1: snapshot -c" snapshot -c new "$2"
    said_busy "held by $1: snapshot -a" snapshot -a base "$2"
    said_busy "held by $1: snapshot -d" snapshot -d base "$2"
    check_exit "held by $1: snapshot -l -U lists" 0 'base' "$CHRIMG" snapshot -l -U "$2"
    check_exit "held by $1: snapshot --diff -U compares" 0 'no file differs' \
        "$CHRIMG" snapshot --diff base -U "$2"
    check_exit "held by $1: -U is not for changes" 2 'force-share goes with' "$CHRIMG" snapshot -U -c new "$2"
}

# Held by a reader: everybody reads, nobody writes.
held_by_reader() { # WHO IMAGE
    check "held by $1: info" "$CHRIMG" info "$2"
    check "held by $1: convert" "$CHRIMG" convert -f "$2" copy.raw
    check "held by $1: check" "$CHRIMG" check "$2"
    said_busy "held by $1: snapshot -c" snapshot -c new "$2"
    said_busy "held by $1: snapshot -d" snapshot -d base "$2"
    said_busy "held by $1: fatten --in-place" fatten --in-place "$2"
}

# ---- others hold it ----

held_by_others() {
    hold disk.qcow2 is_written qemu-io -f qcow2 disk.qcow2
    held_by_writer qemu-io disk.qcow2
    let_go disk.qcow2
    hold disk.img is_written qemu-io -f raw disk.img
    held_by_writer "qemu-io, raw" disk.img
    let_go disk.img
    hold disk.qcow2 is_read qemu-io -r -f qcow2 disk.qcow2
    held_by_reader "qemu-io -r" disk.qcow2
    let_go disk.qcow2
    hold disk.qcow2 is_written qemu-system-x86_64 -machine q35 -accel tcg -m 16 -display none -S \
        -monitor stdio -serial none -net none -drive file=disk.qcow2,format=qcow2,if=virtio
    held_by_writer QEMU disk.qcow2
    let_go disk.qcow2
    hold disk.qcow2 is_written qemu-storage-daemon \
        --blockdev driver=file,node-name=file,filename=disk.qcow2 \
        --blockdev driver=qcow2,node-name=disk,file=file \
        --nbd-server addr.type=unix,addr.path="$WORK/socket" \
        --export type=nbd,id=export,node-name=disk,writable=on
    held_by_writer qemu-storage-daemon disk.qcow2
    let_go disk.qcow2
    rm -f socket
    check "free again: changed" "$CHRIMG" snapshot -c free disk.qcow2
    check "free again: sound" sound disk.qcow2
}

# A VM whose disk is an overlay holds the image below it for reading.
held_as_backing_file() {
    qemu-img create -q -f qcow2 -F qcow2 -b disk.qcow2 overlay.qcow2
    hold overlay.qcow2 is_written qemu-io -f qcow2 overlay.qcow2
    check "held as backing file: info" "$CHRIMG" info disk.qcow2
    said_busy "held as backing file: snapshot -c" snapshot -c new disk.qcow2
    let_go overlay.qcow2
    mv disk.qcow2 base.qcow2
    ln base.qcow2 disk.qcow2
    hold disk.qcow2 is_written qemu-io -f qcow2 disk.qcow2
    said_busy "the backing file is written to: convert" convert overlay.qcow2 never.raw
    said_busy "held by another name: snapshot -c" snapshot -c new base.qcow2
    let_go disk.qcow2
    rm overlay.qcow2 base.qcow2
}

# ---- chrimg holds it ----

# qemu_refuses NAME COMMAND...
qemu_refuses() {
    check_exit "$1" 1 'Failed to get .* lock' timeout $SECONDS_ALLOWED "${@:2}"
}

writers_are_refused() { # WHO
    qemu_refuses "$1: qemu-io" qemu-io -f qcow2 -c 'write 0 1k' disk.qcow2
    qemu_refuses "$1: qemu-img snapshot -c" qemu-img snapshot -c new disk.qcow2
    qemu_refuses "$1: qemu-img check -r" qemu-img check -r all disk.qcow2
    qemu_refuses "$1: QEMU" qemu-system-x86_64 -machine q35 -accel tcg -m 16 -display none -S \
        -drive file=disk.qcow2,format=qcow2,if=virtio
    said_busy "$1: chrimg snapshot -c" snapshot -c new disk.qcow2
    said_busy "$1: chrimg fatten --in-place" fatten --in-place disk.qcow2
}

# A reader of standard output that takes its time keeps convert waiting.
chrimg_reads() {
    mkfifo slow
    "$CHRIMG" convert disk.qcow2 - >slow 2>logs/convert &
    holder=$!
    exec 7<slow
    check "chrimg reads: the image is held" wait_for is_read disk.qcow2
    writers_are_refused "chrimg reads"
    check "chrimg reads: qemu-img info" qemu-img info disk.qcow2
    check "chrimg reads: qemu-img convert" qemu-img convert -O raw disk.qcow2 copy.raw
    check "chrimg reads: chrimg info" "$CHRIMG" info disk.qcow2
    check "chrimg reads: and reads on" cmp - copy.raw <&7
    exec 7<&-
    wait "$holder"
    check_equal "chrimg reads: it is done" $? 0
    holder=
    check "chrimg reads: the image is free again" wait_for is_free disk.qcow2
}

is_stopped() { [ "$(cut -d ' ' -f 3 "/proc/$1/stat")" = T ]; }

# stopped_writer: chrimg snapshot -c, stopped right before its first write to disk.qcow2, in $holder.
# The recorder comes before the runtime of AddressSanitizer, which minds that.
stopped_writer() {
    LD_PRELOAD=$BUILD/tests/powercut/recorder.so POWERCUT_DIR=held POWERCUT_LOG=/dev/null \
        FAULT_AT=1 FAULT=STOP ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" \
        "$CHRIMG" snapshot -c by-chrimg-0 disk.qcow2 >logs/snapshot 2>&1 &
    holder=$!
    wait_for is_stopped "$holder" && is_written held/disk.qcow2
}

chrimg_writes() {
    qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
    "$CHRIMG" snapshot -c base disk.qcow2 >/dev/null
    # The recorder watches a folder in which nothing else is written.
    mkdir held
    mv disk.qcow2 held
    ln -s held/disk.qcow2 disk.qcow2
    if ! stopped_writer; then
        not_ok "chrimg writes: stopped at the right moment"
        return
    fi
    writers_are_refused "chrimg writes"
    qemu_refuses "chrimg writes: qemu-img info" qemu-img info disk.qcow2
    qemu_refuses "chrimg writes: qemu-img convert" qemu-img convert -O raw disk.qcow2 copy.raw
    said_busy "chrimg writes: chrimg info" info disk.qcow2
    check "chrimg writes: qemu-img info -U" qemu-img info -U disk.qcow2
    kill -CONT "$holder"
    wait "$holder"
    check_equal "chrimg writes: it is done in the end" "$?: $(sed 's/chrimg-[0-9]*/chrimg/' logs/snapshot)" \
        "0: disk.qcow2: created snapshot by-chrimg"
    holder=
    check "chrimg writes: sound" sound disk.qcow2
}

# ---- at the same time, by chance ----

# many TOOL PREFIX: 25 snapshots; who is refused says so.  Prints how many succeeded.
many() {
    local i done=0 output
    for ((i = 0; i < 25; i++)); do
        if [ "$1" = chrimg ]; then
            output=$("$CHRIMG" snapshot -c "$2$i" race.qcow2 2>&1)
        else
            output=$(qemu-img snapshot -c "$2$i" race.qcow2 2>&1)
        fi && done=$((done + 1)) && continue
        grep -qE "$BUSY|Failed to get .* lock" <<<"$output" || echo "unexpected: $output"
    done
    echo "$done"
}

# race NAME TOOL...: each makes snapshots of race.qcow2, all at the same time.
race() {
    local name="race of $1" tool number=0 announced racers=()
    shift
    rm -f many.*
    qemu-img create -q -f qcow2 race.qcow2 8M
    qemu-io -f qcow2 -c 'write -P 3 0 4M' race.qcow2 >/dev/null
    # QEMU asks how long the file is before it locks it, and reads what has grown since
    # then as zeros (7.2: even two qemu-img leak clusters by it).  This file need not grow.
    truncate -s 100M race.qcow2
    for tool; do
        number=$((number + 1))
        many "$tool" "by-$number-" >many.$number &
        racers+=($!)
    done
    wait "${racers[@]}"
    check_equal "$name: who was refused said why" "$(cat many.* | grep unexpected)" ""
    announced=$(tail -q -n 1 many.* | paste -sd+)
    check "$name: the first one got its turn" test "$(tail -n 1 many.1)" -gt 0
    check_equal "$name: as many snapshots as were announced ($announced)" \
        "$(tags_by_qemu race.qcow2 | wc -l)" "$((announced))"
    check "$name: sound" sound race.qcow2
    check_equal "$name: the data" \
        "$(qemu-io -r -f qcow2 -c 'read -P 3 0 4M' race.qcow2 | grep -c 'verification failed')" 0
}

# ---- killed ----

# killed_after MILLISECONDS ARGUMENT...: its exit status, in $killed_status.
killed_after() {
    "$CHRIMG" "${@:2}" >/dev/null 2>&1 &
    holder=$!
    sleep "$(printf '0.%03d' "$1")"
    kill -KILL "$holder" 2>/dev/null
    wait "$holder" 2>/dev/null
    killed_status=$?
    holder=
}

killed_convert() {
    local kills=0 bad='' delay names
    "$CHRIMG" convert -c disk.img whole.qcow2 >/dev/null
    names=$(names_here)
    for delay in 1 3 5 8 12 16 20 25 30 40 50 60 80 100 130; do
        killed_after $delay convert -c --threads 1 disk.img out.qcow2
        if [ $killed_status -eq 137 ]; then kills=$((kills + 1)); fi
        # What is there is the whole output.
        if [ -e out.qcow2 ] && ! cmp out.qcow2 whole.qcow2; then bad+="after $delay ms: half an output"$'\n'; fi
        rm -f out.qcow2
        [ "$(names_here)" = "$names" ] || bad+="after $delay ms: left $(names_here)"$'\n'
    done
    check "killed: convert, $kills of 15 times before its end" test $kills -ge 3
    check_equal "killed: convert leaves nothing, or all" "$bad" ""
    check "killed: convert again" "$CHRIMG" convert -c disk.img out.qcow2
    check "killed: convert again, the same bytes" cmp out.qcow2 whole.qcow2
    echo precious >kept.qcow2
    killed_after 10 convert -f -c --threads 1 disk.img kept.qcow2
    check "killed: convert -f leaves the former output" eval \
        'grep -qx precious kept.qcow2 || cmp kept.qcow2 whole.qcow2'
}

killed_snapshots() {
    local kills=0 delay action=(-c tag) names wanted
    qemu-img convert -f raw -O qcow2 -o cluster_size=512 disk.img kill.qcow2
    qemu-img snapshot -c base kill.qcow2
    wanted=$(checksum disk.img)
    names=$(names_here)
    for delay in 2 4 6 8 10 12 15 20 30 50; do
        killed_after $delay snapshot "${action[@]}" kill.qcow2
        if [ $killed_status -eq 137 ]; then kills=$((kills + 1)); fi
        check "killed: snapshot ${action[*]} after $delay ms: no errors" not_corrupt kill.qcow2
        check_exit "killed: snapshot ${action[*]} after $delay ms: no leaks in the end" 0 sound \
            "$CHRIMG" check --repair leaks kill.qcow2
        check "killed: snapshot ${action[*]} after $delay ms: sound" sound kill.qcow2
        check_equal "killed: snapshot ${action[*]} after $delay ms: the disk" \
            "$("$CHRIMG" convert kill.qcow2 - | b2sum | cut -d" " -f1)" "$wanted"
        if tags_by_qemu kill.qcow2 | grep -qx tag; then action=(-d tag); else action=(-c tag); fi
    done
    check "killed: snapshot, $kills of 10 times before its end" test $kills -ge 1
    check_equal "killed: snapshot leaves nothing beside" "$(names_here)" "$names"
    check_equal "killed: the other snapshot" \
        "$("$CHRIMG" convert kill.qcow2@base - | b2sum | cut -d" " -f1)" "$wanted"
}

"$MKCHR" 7.19 disk.img
qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
qemu-img snapshot -c base disk.qcow2

held_by_others
held_as_backing_file
chrimg_reads
chrimg_writes
race "three chrimg" chrimg chrimg chrimg
race "chrimg and qemu-img" chrimg chrimg qemu-img qemu-img
killed_convert
killed_snapshots
done_testing
