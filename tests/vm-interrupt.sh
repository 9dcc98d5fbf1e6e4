#!/bin/bash
# Ctrl-C and kill -9 while a machine is paused, or off, for a snapshot: it goes on all the same, at once or with the
# next snapshot.  strace says where chrimg is, and slows it down there.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 qemu-img jq curl strace
strace -D -o trace true 2>/dev/null || skip_all 'strace cannot be used here'

make_images() {
    local name
    make_asking life count-seconds && make_asking deaf ignore-power-button || return
    for name in life deaf; do "$CHRIMG" fatten --require-bios "$name.img" -o "$name.qcow2" || return; done
}

boots() { "$CHRIMG" boot "$1.qcow2" --name "$1" --bios --timeout "$patience" "${@:2}" && web_answers "$1"; } # NAME OPTION...

tell_qemu() { # NAME COMMAND: as JSON
    { printf '{"execute":"qmp_capabilities"}\n%s\n' "$2"; sleep 1; } |
        timeout 10 curl -sN --unix-socket "$runtime/$1/qmp.sock" telnet://qemu
}

status_is() { [[ $(vm_value "$1" .status) == "$2" ]] || { "$CHRIMG" ps -a; return 1; }; } # NAME STATUS

has() { qemu-img snapshot -U -l "$1.qcow2" | grep -qw "$2"; } # NAME TAG

# The guest's clock goes on, from wherever it is.
counts_on() { # NAME
    local before deadline=$((SECONDS + patience))
    before=$(wc -c <"$(serial_log "$1")")
    until (($(wc -c <"$(serial_log "$1")") > before)); do
        ((SECONDS < deadline)) || { "$CHRIMG" ps; return 1; }
        sleep 0.2
    done
}

# signal_at SIGNAL PATTERN ARGUMENT...: of chrimg; SIGNAL when PATTERN is in its trace.  Its exit status goes to $ended,
# how many seconds it has lived on to $outlived.
signal_at() {
    local signal=$1 pattern=$2 pid begin
    shift 2
    rm -f trace
    ended=
    # -D: what is started is chrimg itself.
    env --default-signal=INT strace -D -o trace -s 200 -e trace=sendto,pwrite64 \
        -e inject=sendto,pwrite64:delay_exit=200000 "$CHRIMG" "$@" >said 2>&1 &
    pid=$!
    until grep -q "$pattern" trace 2>/dev/null; do
        kill -0 "$pid" 2>/dev/null || { echo "no $pattern"; cat said; return 1; }
        sleep 0.02
    done
    begin=$SECONDS
    kill -s "$signal" "$pid"
    wait "$pid"
    ended=$?
    outlived=$((SECONDS - begin))
    cat said
}

# ---- the job of one that is gone ----

# As one leaves it that is interrupted while QEMU writes memory: concluded, and not taken out of the list.
leaves_a_job() { # TAG
    local node
    node=$(tell_qemu life '{"execute":"query-block"}' |
        jq -r 'select(.return | type == "array").return[] | select(.device == "disk0").inserted["node-name"]')
    tell_qemu life '{"execute":"snapshot-save","arguments":{"job-id":"chrimg-snapshot","tag":"'"$1"'","vmstate":"'"$node"'","devices":["'"$node"'"]}}'
    has life "$1"
}

next_one_is_taken() { # TAG
    "$CHRIMG" snapshot -c "$1" --with-memory life.qcow2 && has life "$1" && status_is life running
}

interrupted_while_saved() {
    timeout -s INT 0.15 "$CHRIMG" snapshot -c hasty --with-memory life.qcow2
    next_one_is_taken patient
}

# QEMU says nothing while it writes much memory to a slow disk.
deaf_for_a_while() {
    local pid
    pid=$(vm_pid life)
    rm -f trace
    strace -D -o trace -s 200 -e trace=sendto "$CHRIMG" snapshot -c slow --with-memory life.qcow2 >said 2>&1 &
    until grep -q snapshot-save trace 2>/dev/null; do kill -0 $! || return; done
    kill -STOP "$pid"
    sleep 12
    kill -CONT "$pid"
    wait $! || { cat said; return 1; }
    has life slow
}

# ---- paused ----

# Ctrl-C waits until the machine goes on, and is not lost.
signal_waits_for_the_load() { # SIGNAL
    signal_at "$1" 'execute[^a-z]*stop' snapshot -a memory --no-keep life.qcow2
    [[ $ended == $((128 + $(kill -l "$1"))) ]] || { echo "status $ended"; return 1; }
    status_is life running && counts_on life && ! has life before-apply
}

# Where the load has just begun, and where it has not: the next one lets it go on.
killed_while_paused() { # PATTERN TAG
    signal_at KILL "$1" snapshot -a memory life.qcow2
    status_is life paused && "$CHRIMG" snapshot -c "after-$2" life.qcow2 && has life "after-$2" &&
        status_is life running && counts_on life && [[ ! $(find "$runtime/life" -name 'snapshot-*') ]]
}

pause_of_others_stays() {
    tell_qemu life '{"execute":"stop"}'
    "$CHRIMG" snapshot -c while-paused --with-memory life.qcow2 && status_is life paused &&
        "$CHRIMG" snapshot -c disk-while-paused life.qcow2 && status_is life paused &&
        "$CHRIMG" snapshot -a memory --no-keep life.qcow2 && status_is life paused || return
    tell_qemu life '{"execute":"cont"}'
    status_is life running && counts_on life
}

# A mark that another process left is none.
old_mark_does_not_count() {
    tell_qemu life '{"execute":"stop"}'
    echo '1 1 0 memory' >"$runtime/life/snapshot-fits"
    "$CHRIMG" snapshot -c old-mark life.qcow2 && status_is life paused || return
    tell_qemu life '{"execute":"cont"}'
    status_is life running
}

# ---- off ----

nothing_is_applied() { # SNAPSHOTS
    [[ $ended == 143 ]] || { echo "status $ended"; return 1; }
    status_is life running && [[ $(qemu-img snapshot -U -l life.qcow2) == "$1" ]] && web_comes_up life
}

signal_before_the_button() {
    local before kept
    before=$(vm_pid life)
    kept=$(qemu-img snapshot -U -l life.qcow2)
    signal_at TERM query-status snapshot -a disk life.qcow2
    [[ $(vm_pid life) == "$before" ]] && nothing_is_applied "$kept"
}

# The button cannot be taken back: what shuts down is started again, and nothing is applied.
signal_while_it_shuts_down() {
    local before kept
    before=$(vm_pid life)
    kept=$(qemu-img snapshot -U -l life.qcow2)
    # QEMU hears the button when the signal is there.
    { until grep -q system_powerdown trace 2>/dev/null; do sleep 0.01; done; kill -STOP "$before"; sleep 2
        kill -CONT "$before"; } &
    rm -f trace
    signal_at TERM system_powerdown snapshot -a disk life.qcow2
    wait
    [[ $(vm_pid life) != "$before" ]] || { echo 'it did not shut down in time'; return 1; }
    nothing_is_applied "$kept"
}

signal_while_applied() {
    signal_at INT pwrite64 snapshot -a disk life.qcow2
    [[ $ended == 130 ]] || { echo "status $ended"; return 1; }
    status_is life running && has life before-apply && web_comes_up life && "$CHRIMG" stop life &&
        qemu-img check -q life.qcow2
}

# A guest that does not hear its button is not waited for, nor ended.
signal_while_nobody_hears() {
    local before
    before=$(vm_pid deaf)
    signal_at INT system_powerdown snapshot -a disk deaf.qcow2
    if [[ $ended != 130 ]] || ((outlived >= 28)); then echo "status $ended after $outlived s"; return 1; fi
    [[ $(vm_pid deaf) == "$before" ]] && status_is deaf running && ! has deaf before-apply && web_answers deaf
}

# ---- tests ----

check 'images can be made' make_images
check 'one boots' boots life
check 'a snapshot of the disk' "$CHRIMG" snapshot -c disk life.qcow2
check 'one with memory' "$CHRIMG" snapshot -c memory --with-memory life.qcow2
check 'a job is left behind' leaves_a_job left
check 'the next snapshot with memory is taken' next_one_is_taken next
check 'after Ctrl-C while QEMU writes memory, too' interrupted_while_saved
check 'QEMU may take its time' deaf_for_a_while
for signal in INT TERM HUP; do
    check "SIG$signal while memory is loaded: the machine goes on" signal_waits_for_the_load "$signal"
done
check 'kill -9 before the load: the next snapshot lets it go on' killed_while_paused 'execute[^a-z]*stop' stop
check 'kill -9 in the load, too' killed_while_paused 'execute[^a-z]*snapshot-load' load
check 'a machine that others have paused stays so' pause_of_others_stays
check 'what is noted of another process does not count' old_mark_does_not_count
check 'SIGTERM before it is asked to shut down: it is not' signal_before_the_button
check 'SIGTERM while it shuts down: it is started again' signal_while_it_shuts_down
check 'Ctrl-C while the disk is changed: it is, and the machine started' signal_while_applied
check 'stop --forget' "$CHRIMG" stop --forget life
check 'a guest boots that ignores its power button' boots deaf
check 'a snapshot of its disk' "$CHRIMG" snapshot -c disk deaf.qcow2
check 'Ctrl-C ends the waiting for it' signal_while_nobody_hears
check 'stop --forget of it' "$CHRIMG" stop --now --forget deaf
check 'nothing is left' nothing_is_left deaf
done_testing
