#!/bin/bash
# The life of a machine: refused, stopped politely and firmly, killed, orphaned, out of disk.  It never leaves a
# process, a socket or a file behind.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 qemu-img jq curl unshare

make_images() {
    make_asking life keep-writing && "$CHRIMG" convert life.img life.qcow2 &&
        make_asking stubborn ignore-power-button && make_asking plain
}

boot() { "$CHRIMG" boot --timeout "$patience" "$@"; }

# ---- one name, one image, one machine ----

life_boots() { boot life.qcow2 --name life && web_answers life; }

same_name_is_refused() {
    boot plain.img --name life >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q life said && web_answers life
}

image_of_a_machine_is_refused() {
    boot life.qcow2 --name other >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q life said && [[ ! -e $state/other ]] && web_answers life
}

image_of_another_program_is_refused() {
    local holder result
    cp life.qcow2 held.qcow2
    qemu-system-x86_64 -S -nodefaults -display none -monitor none -drive file=held.qcow2,format=qcow2,if=none &
    holder=$!
    while qemu-img info held.qcow2 >/dev/null 2>&1; do kill -0 "$holder" || return; sleep 0.1; done
    boot held.qcow2 --name other >said 2>&1
    result=$?
    kill "$holder"
    wait "$holder"
    cat said
    [[ $result == 1 && ! -e $state/other ]]
}

# ---- the end of QEMU, the end of chrimg ----

# Without a trace in /proc, or waiting there for its parent to notice.
is_dead() { ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; } # PID

qemu_is_killed() {
    local pid
    pid=$(vm_pid life)
    kill -9 "$pid" || return
    until is_dead "$pid"; do sleep 0.1; done
    "$CHRIMG" ps && is_off life || return
    # At worst, clusters have leaked.
    qemu-img check life.qcow2
    [[ $? == 0 || $? == 3 ]]
}

boots_after_that() { boot life.qcow2 --name life && web_answers life && "$CHRIMG" stop --now life; }

# DELAY seconds after its start; whatever is there then can be stopped, and nothing hides.
chrimg_is_killed_after() { # DELAY
    local pid
    "$CHRIMG" boot plain.img --name orphan --throwaway >/dev/null 2>&1 &
    pid=$!
    sleep "$1"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    if [[ $(vm_value orphan .running) == true ]]; then
        # A process that was never let go may meanwhile have ended by itself: what counts is what is left.
        "$CHRIMG" stop --now orphan
    else
        [[ ! $(our_processes) ]] || { show_processes "$(our_processes)"; return 1; }
    fi
    "$CHRIMG" stop --forget orphan
    nothing_is_left orphan
}

chrimg_is_killed() {
    local delay
    for delay in 0.005 0.015 0.03 0.06 0.12 0.25 1; do
        chrimg_is_killed_after "$delay" || { echo "after $delay s"; return 1; }
    done
}

signal_ends_run() { # SIGNAL
    local pid
    rm -f started
    env --default-signal=INT "$CHRIMG" run --name run plain.img -- sh -c 'touch started; exec sleep 600' &
    pid=$!
    until [[ -e started ]]; do kill -0 "$pid" || return; sleep 0.1; done
    kill -s "$1" "$pid"
    wait "$pid"
    [[ $? == $((128 + $(kill -l "$1"))) ]] && nothing_is_left run
}

command_runs() { [[ -s command ]]; }
machine_runs() { [[ $(vm_value run .running) == true ]]; }

# Neither the command nor the machine outlives it, whatever it was at.
run_is_killed() { # CONDITION
    local pid command deadline=$((SECONDS + 60))
    rm -f command
    "$CHRIMG" run --name run --ready none plain.img -- sh -c 'echo $$ >command; exec sleep 600' &
    pid=$!
    until "$1"; do kill -0 "$pid" || return; sleep 0.02; done
    command=$(cat command 2>/dev/null)
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    until nothing_is_left run >left && { [[ ! $command ]] || is_dead "$command"; }; do
        ((SECONDS < deadline)) || { cat left; return 1; }
        sleep 0.2
    done
}

signal_ends_boot() {
    local pid
    "$CHRIMG" boot plain.img --name ends --throwaway &
    pid=$!
    until [[ $(vm_pid ends) ]]; do kill -0 "$pid" || return; sleep 0.1; done
    kill "$pid"
    wait "$pid"
    [[ $? == 143 ]] && nothing_is_left ends
}

# ---- stop ----

power_button_is_ignored() {
    boot stubborn.img --name stubborn --rm || return
    "$CHRIMG" stop --timeout 2 stubborn >said 2>&1 || { cat said; return 1; }
    cat said
    grep -q 'did not shut down in time' said && nothing_is_left stubborn
}

tell_qemu_to_pause() { # NAME
    printf '{"execute":"qmp_capabilities"}\n{"execute":"stop"}\n' |
        timeout 5 curl -s --unix-socket "$runtime/$1/qmp.sock" telnet://qemu
}

# As a disk that gets full while the guest shuts down does it.
stopped_meanwhile_is_not_waited_for() {
    local begin=$SECONDS stopping
    boot stubborn.img --name stubborn --rm || return
    "$CHRIMG" stop --timeout 100 stubborn >said 2>&1 &
    stopping=$!
    sleep 1
    tell_qemu_to_pause stubborn
    begin=$SECONDS
    wait "$stopping" && cat said && ((SECONDS - begin < 50)) && nothing_is_left stubborn
}

paused_is_told_to_quit() {
    boot plain.img --name paused --rm --ready none || return
    tell_qemu_to_pause paused
    "$CHRIMG" stop paused >said 2>&1 && cat said && grep -q 'is paused' said && nothing_is_left paused
}

# Nobody takes what a --rm machine keeps for left over while it is started again, however long that takes.
restart_keeps_the_disk() { # RESTART-OPTION...
    local overlay inode waiting
    boot plain.img --name again --rm --ready none || return
    overlay=$(echo "$state"/again/disk-*.qcow2)
    inode=$(stat -c %i "$overlay") || return
    "$CHRIMG" wait again >waited 2>&1 &
    waiting=$!
    # Time to get to the lock before the start does.
    strace -D -o trace -e trace=flock,connect -e inject=flock,connect:delay_enter=300000 \
        "$CHRIMG" restart "$@" again >said 2>&1 &
    while kill -0 $! 2>/dev/null; do "$CHRIMG" ps >/dev/null; sleep 1; done
    wait $! || { cat said; return 1; }
    wait "$waiting" || return
    [[ $(stat -c %i "$overlay") == "$inode" ]] || { echo 'the overlay is another one'; return 1; }
    # For good, `wait` ends, and nothing is left.
    "$CHRIMG" wait again >waited 2>&1 &
    waiting=$!
    "$CHRIMG" stop --now again && wait "$waiting" && nothing_is_left again
}

# ---- machines that others start, files of others ----

printed_line_is_an_instance() {
    "$CHRIMG" boot life.qcow2 --name life --print >line || return
    sh line </dev/null >/dev/null 2>&1 &
    until [[ -s $runtime/life/pid ]]; do kill -0 $! || return; sleep 0.1; done
    "$CHRIMG" ps && [[ $(vm_value life .running) == true && $(vm_value life .image) == */life.qcow2 ]] || return
    # Its forwards are in its arguments: those that chrimg would show.
    [[ $(vm_value life '[.endpoints[].name] | join(" ")') == 'http https ssh api api-ssl winbox' ]] &&
        [[ $(vm_value life .address) == 127.0.0.1 ]] && web_comes_up life || return
    [[ -S $runtime/life/qmp.sock ]] || { echo "ps took the socket of a machine that runs"; return 1; }
    if "$CHRIMG" restart life; then return 1; fi
    wait_until_it_says life 'standin: ready' && "$CHRIMG" stop life >said && cat said &&
        grep -q 'has shut down' said && wait $! && is_off life
}

# What it leaves is listed with the image that the user knows, and can be removed.
printed_line_of_a_raw_image() {
    local i base folder=$state/printed
    "$CHRIMG" boot plain.img --name printed --print >line || return
    sh line </dev/null >/dev/null 2>&1 &
    until [[ -s $runtime/printed/pid ]]; do kill -0 $! || return; sleep 0.1; done
    [[ $(vm_value printed .image) == */plain.img ]] && "$CHRIMG" stop --now printed || return
    wait $!
    # In whatever order the folder is read: the overlay is found among what is remembered of images.
    base=$(echo "$folder"/disk-*.base)
    for ((i = 0; i < 30; i++)); do cp "$base" "$folder/disk-$(printf %08x "$i").qcow2.base" || return; done
    [[ $(vm_value printed '"\(.status) \(.image)"') == "off "*/plain.img ]] || { "$CHRIMG" ps -a; return 1; }
    "$CHRIMG" boot plain.img --name printed --throwaway >said 2>&1
    cat said
    grep -q 'chrimg stop --forget printed' said && "$CHRIMG" stop printed && "$CHRIMG" stop --forget printed &&
        nothing_is_left printed
}

readconfig_spares_an_image() {
    cp plain.img spared.img
    "$CHRIMG" boot plain.img --name plain --readconfig spared.img >said 2>&1
    [[ $? == 1 ]] && cat said && cmp plain.img spared.img &&
        "$CHRIMG" boot plain.img --name plain --readconfig own.cfg &&
        "$CHRIMG" boot plain.img --name plain --readconfig own.cfg
}

# ---- full disk ----

# In a mount namespace of its own, with SIZE more than the image for the state folder and a copy of the image.
on_small_disk() { # SIZE-IN-KIB FUNCTION
    local options=(-m)
    [[ $(id -u) == 0 ]] || options=(-rm)
    size=$1 unshare "${options[@]}" bash -c "mkdir -p small && mount -t tmpfs -o size=\${size}k none small && $2"
}

no_room_for_the_overlay() {
    (XDG_STATE_HOME=$WORK/small "$CHRIMG" boot plain.img --name full >said 2>&1
        status=$?; cat said
        [[ $status == 1 ]] && grep -qi 'no space' said && [[ ! $(find small -mindepth 2) ]])
}

# QEMU stops the guest until there is room; it can be ended all the same.
disk_fills_up() {
    local deadline=$((SECONDS + 120))
    cp life.qcow2 small/image.qcow2
    "$CHRIMG" boot small/image.qcow2 --name full --ready serial:root --timeout "$patience" || return
    until [[ $(vm_value full .status) == io-error ]]; do
        ((SECONDS < deadline)) || { df small; "$CHRIMG" ps; return 1; }
        sleep 0.3
    done
    "$CHRIMG" snapshot -c full --with-memory small/image.qcow2 >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q 'hint: df shows' said || return
    "$CHRIMG" stop --timeout 2 full || return
    qemu-img check small/image.qcow2
    [[ $? == 0 || $? == 3 ]]
}

export -f no_room_for_the_overlay disk_fills_up vm_value
export WORK private state runtime patience

# ---- tests ----

check 'images can be made' make_images
check 'it boots' life_boots
check 'a second machine of its name is refused' same_name_is_refused
check 'a second machine on its image is refused' image_of_a_machine_is_refused
check 'an image that another program holds is refused' image_of_another_program_is_refused
check 'kill -9 of QEMU: ps tidies up, the image is sound' qemu_is_killed
check 'it boots after that' boots_after_that
check 'a printed line makes an instance: seen, not restarted, shut down' printed_line_is_an_instance
check 'what the line of a raw image has left: seen, and forgotten' printed_line_of_a_raw_image
check '--readconfig writes over no image' readconfig_spares_an_image
check 'stop --forget' "$CHRIMG" stop --forget life
check 'nothing is left of it' nothing_is_left life
check 'a guest that ignores the power button is ended after the deadline' power_button_is_ignored
check 'one that is stopped meanwhile is not waited for' stopped_meanwhile_is_not_waited_for
check 'one that is paused is told to quit, and stop says so' paused_is_told_to_quit
if strace -D -o trace true 2>/dev/null; then
    check 'restart of a --rm machine keeps its disk, whoever waits for it' restart_keeps_the_disk --now
else
    skip 'restart of a --rm machine keeps its disk' 'strace cannot be used here'
fi
check 'kill -9 of chrimg, at any time, hides nothing' chrimg_is_killed
check 'kill -9 of chrimg run ends its command and its machine' run_is_killed command_runs
check 'also while it boots' run_is_killed machine_runs
check 'SIGTERM to chrimg boot ends the machine' signal_ends_boot
check 'SIGTERM to chrimg run ends the machine' signal_ends_run TERM
check 'SIGINT to chrimg run ends the machine' signal_ends_run INT
if on_small_disk 100 true 2>/dev/null; then
    check 'no room for the overlay: refused, nothing is left' on_small_disk 40 no_room_for_the_overlay
    check 'the disk fills up: the machine can be ended, its image is sound' \
        on_small_disk $(($(du -k life.qcow2 | cut -f1) + 400)) disk_fills_up
    check 'nothing runs any more' test -z "$(our_processes)"
    check 'its instance is forgotten' "$CHRIMG" stop --forget full
else
    skip 'full disk' 'no mount namespace can be made here'
fi
check 'nothing is left at all' test -z "$(our_processes)$(find "$runtime" "$state" -mindepth 1 2>/dev/null)"
done_testing
