#!/usr/bin/env bash
# chrimg boot, ps, console, logs, stop, restart, wait, run and live snapshots, with real machines
# that run the stand-in; and that nothing is left of them.
# shellcheck disable=SC2317,SC2016  # functions are called through check; other shells' dollars
. "$(dirname "$0")/boot/lib.sh"
needs_tool qemu-system-x86_64 qemu-img curl jq python3 pgrep

# Short: a socket's path has room for some hundred bytes.
folders=$(mktemp -d /tmp/chrimg-vm.XXXXXX)
export XDG_RUNTIME_DIR=$folders/run XDG_STATE_HOME=$folders/state XDG_CACHE_HOME=$folders/cache
mkdir -m 700 "$folders/run"

end_all() {
    local status=$? name
    for name in $("$CHRIMG" ps --json 2>/dev/null | jq -r '.instances[].name'); do
        "$CHRIMG" stop --now "$name" >/dev/null 2>&1
    done
    rm -rf "$folders"
    (exit $status)
    tap_end
}
trap end_all EXIT

# Of this test's machines: their command lines name its folder.
machines() {
    pgrep -f -- "$folders/run/chrimg/" | grep -vx "$$"
}

nothing_is_left() { # [STATE...]: of the state folder, only these instances may be there
    local left
    left=$(machines)
    [ -z "$left" ] || { echo "processes: $left"; return 1; }
    left=$(find "$folders/run" -mindepth 1)
    [ -z "$left" ] || { echo "sockets: $left"; return 1; }
    left=$(find "$folders/state/chrimg" -mindepth 1 -maxdepth 1 -printf '%f ' 2>/dev/null)
    [ "$left" = "$*${1:+ }" ] || { echo "kept: $left"; return 1; }
}

field() { # NAME KEY
    "$CHRIMG" ps -a --json | jq -r --arg name "$1" ".instances[] | select(.name == \$name) | $2"
}

pid_is_gone() {
    # What nobody reaps is gone all the same.
    [ ! -e "/proc/$1" ] || grep -q '^State:.*[ZX]' "/proc/$1/status"
}

check "a stand-in" make_stock
check "as a qcow2" "$CHRIMG" fatten stock.img -o router.qcow2

# ---- boot ----

boots() {
    "$CHRIMG" boot --json router.qcow2 >boot.json 2>messages || { cat messages; return 1; }
    [[ $(curl -s -m 20 "http://127.0.0.1:$(jq '.endpoints[] | select(.name == "http").port' boot.json)/") == *ready* ]]
}
check "boot returns when HTTP answers" boots
check_equal "its report names the instance" "$(jq -r .name boot.json)" router
check "and says how long it took in all" jq -e '.waited_ms >= .start_ms + .ready_ms' boot.json
check_equal "QEMU is no child of anybody's here" "$(ps -o ppid= -p "$(jq .pid boot.json)" | tr -d ' ')" 1
check "it survives SIGHUP's usual victim: its session is its own" \
    sh -c '[ "$(ps -o sid= -p "$1" | tr -d " ")" != "$(ps -o sid= -p "$$" | tr -d " ")" ]' - "$(jq .pid boot.json)"
check_equal "sockets are for their owner alone" \
    "$(stat -c %a "$folders"/run/chrimg/router/*.sock | sort -u)" 600
check_equal "folders, too" "$(stat -c %a "$folders"/{run,state}/chrimg{,/router} | sort -u)" 700
check_exit "ps lists it" 0 '^router +running +[a-z]+ +[0-9]+ .* 127.0.0.1:[0-9]+ ' "$CHRIMG" ps
check_exit "logs say what the guest said" 0 'standin: ready' "$CHRIMG" logs
check_exit "a second boot of the image is refused, and says whose it is" 1 \
    'in use: instance router runs from it' "$CHRIMG" boot --name other router.qcow2
for show in --print --script --systemd --libvirt "--readconfig=router.ini"; do
    check_exit "$show starts nothing, and is there while the machine runs" 0 'router.qcow2|-readconfig' \
        "$CHRIMG" boot --name other "$show" router.qcow2
done
check_exit "a second boot of the name is refused" 1 'router runs already' \
    "$CHRIMG" boot --name router --throwaway stock.img
check_exit "a wrong name is a wrong usage" 2 'is no name|letters, digits' "$CHRIMG" boot --name ../x stock.img

taken_port() {
    local port
    port=$(jq '.endpoints[0].port' boot.json)
    check_exit "a port in use is found before QEMU starts" 1 "port $port .*taken" \
        "$CHRIMG" boot --name port --forward "$port:80" --throwaway stock.img
}
taken_port

# ---- console ----

# Types into the console under a pseudo terminal: what the terminal's settings were, they are after it.
console_session() { # PYTHON-EXPRESSION: keys; then how it is to end
    python3 - "$CHRIMG" "$@" <<'PY'
import os, pty, select, signal, subprocess, sys, termios, time

chrimg, action = sys.argv[1], sys.argv[2]
command = [chrimg] + sys.argv[3:]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
said = b""

def hear(until, seconds):
    global said
    end = time.monotonic() + seconds
    while time.monotonic() < end and until not in said:
        if select.select([master], [], [], 0.1)[0]:
            said += os.read(master, 4096)
        elif process.poll() is not None:
            break
    return until in said

def raw():
    return not termios.tcgetattr(slave)[3] & termios.ICANON

assert hear(b"attached" if "console" in command else b"runs on this terminal", 60), said
end = time.monotonic() + 20
while not raw() and time.monotonic() < end:
    time.sleep(0.02)
assert raw(), "the terminal is not raw"
if action == "detach":
    os.write(master, b"\x1d")
elif action == "quit":
    os.write(master, b"\x01h")
    assert hear(b"Ctrl-A X", 20), said
    os.write(master, b"\x01x")
else:
    process.send_signal(getattr(signal, action))
status = process.wait(60)
assert termios.tcgetattr(slave) == before, "the terminal is not as it was"
print("status", status)
PY
}
check_exit "Ctrl-] detaches from the console" 0 '^status 0$' console_session detach console router
check_exit "SIGTERM ends the console, and restores the terminal" 0 '^status 143$' \
    console_session SIGTERM console
check_exit "SIGHUP, too" 0 '^status 129$' console_session SIGHUP console
check_equal "the machine goes on meanwhile" "$(field router .status)" running

# ---- live snapshots ----

has_snapshot() { # TAG [with-memory]
    qemu-img snapshot -U -l router.qcow2 | grep -qE "^[0-9]+ +$1 +${2:+[0-9.]+ [KM]iB}"
}
in_use='router.qcow2 is in use: instance router runs from it'
check_exit "info: names the machine that runs from the image" 1 "$in_use" "$CHRIMG" info router.qcow2
check_exit "convert, too" 1 "$in_use" "$CHRIMG" convert router.qcow2 out.img
check_exit "and what ends it" 1 'hint: chrimg stop router first; info, ls,' "$CHRIMG" check router.qcow2
check "a snapshot of the running disk" "$CHRIMG" snapshot -c disk router.qcow2
check "is there for qemu-img" has_snapshot disk
check_exit "the same tag again is refused" 1 'there is a snapshot disk already' "$CHRIMG" snapshot -c disk router.qcow2
check "a snapshot with memory" "$CHRIMG" snapshot -c memory --with-memory router.qcow2
check "is there for qemu-img, with memory" has_snapshot memory with-memory
check_exit "list reads what the machine writes to" 0 '^2 +memory .* [0-9.]+ MiB' \
    "$CHRIMG" snapshot -l router.qcow2
pid=$(field router .pid)
check "back to the one with memory" "$CHRIMG" snapshot -a memory --no-keep router.qcow2
check_equal "it is the same machine" "$(field router '"\(.pid) \(.status)"')" "$pid running"
answers() { [[ $(curl -s -m 30 "$(jq -r '"http://127.0.0.1:\(.endpoints[0].port)/"' boot.json)") == *ready* ]]; }
check "and it answers" answers
check_exit "an unknown tag is refused" 1 'no snapshot nothing' "$CHRIMG" snapshot -a nothing router.qcow2
check_exit "back to the disk alone: the machine is started again" 0 'turned off for it, and is started again' \
    "$CHRIMG" snapshot -a disk --no-keep router.qcow2
check "the old one is gone" pid_is_gone "$pid"
check_exit "a snapshot is deleted" 0 'deleted snapshot memory' "$CHRIMG" snapshot -d memory router.qcow2
check_exit "and is not there any more" 1 '' has_snapshot memory
check_exit "no machine, no memory" 1 'no memory to keep' "$CHRIMG" snapshot -c m --with-memory stock.img

# ---- stop, restart, wait ----

"$CHRIMG" wait router &
waiting=$!
# It has the old machine, and not the one that restart makes, in its hands.
until find "/proc/$waiting/fd" -lname '*pidfd*' 2>/dev/null | grep -q . || ! kill -0 "$waiting"; do sleep 0.05; done
check_exit "wait has an end, and says what ends the machine" 1 'router still runs after 1\.[0-9] s' "$CHRIMG" wait --timeout 1 router
# Also after the snapshot's own start, which does not wait.
check_exit "restart waits until it answers" 0 '^router is up' "$CHRIMG" restart --now
check_exit "and not a moment less" 0 'standin: root is on' "$CHRIMG" logs router
wait "$waiting"
check_equal "who waited for the old machine does not tidy up after the new one" "$(field router .status)" running
"$CHRIMG" wait router &
waiting=$!
pid=$(field router .pid)
check_exit "stop presses the power button" 0 '^router has shut down$' "$CHRIMG" stop
check "QEMU is gone" pid_is_gone "$pid"
wait "$waiting"
check_equal "wait has heard of it" $? 0
check "the disk is sound" qemu-img check -q router.qcow2
check "nothing is left but its state" nothing_is_left router
waits() { "$CHRIMG" wait --json router >waited && cat waited && jq -e '.name == "router" and .waited_ms == 0' waited; }
check "wait of what is off is over at once" waits
check_exit "stop of what is off says so" 0 'was off already' "$CHRIMG" stop router
check_exit "ps -a knows it" 0 '^router +off ' "$CHRIMG" ps -a
check_exit "stop --forget removes the rest" 0 'is forgotten' "$CHRIMG" stop --forget router
check "nothing is left" nothing_is_left

# The machine is off, so both go for the lock at once; the one that comes too late has no --name to take.
restarts_at_once() {
    local i
    "$CHRIMG" boot --ready none --name twice stock.img || return
    for ((i = 0; i < 10; i++)); do
        "$CHRIMG" stop --now twice >/dev/null 2>&1
        "$CHRIMG" restart --now twice >one 2>&1 &
        "$CHRIMG" restart --now twice >two 2>&1
        wait $!
        if grep -q 'runs already' one two; then break; fi
    done
    cat one two
    "$CHRIMG" stop --now --forget twice && grep -q 'hint: another command has started it' one two && ! grep -q -e --name one two
}
check "restart: who loses against another one is told so" restarts_at_once

# The disk goes back before the memory is read; both are then put back as they were.
memory_of_another_size() {
    "$CHRIMG" boot --ready none --name size --mem 256M router.qcow2 &&
        "$CHRIMG" snapshot -c small --with-memory router.qcow2 && "$CHRIMG" stop --now size &&
        "$CHRIMG" boot --ready none --name size --mem 320M router.qcow2 || return
    "$CHRIMG" snapshot -a small --no-keep router.qcow2 >said 2>&1
    [ $? -eq 1 ] && cat said && ! grep -q 'is paused' said && [ "$(field size .status)" = running ] &&
        "$CHRIMG" stop --now --forget size && "$CHRIMG" snapshot -a small --no-keep router.qcow2 &&
        "$CHRIMG" snapshot -d small router.qcow2 && qemu-img check -q router.qcow2
}
check "a memory that does not fit leaves the machine as it was, and running" memory_of_another_size
raw_holds_none() {
    cp --sparse=always stock.img written.img && "$CHRIMG" boot --ready none --write written.img || return
    "$CHRIMG" snapshot -c tag written.img >said 2>&1
    [ $? -eq 1 ] && cat said && grep -q 'raw image, which cannot hold' said && "$CHRIMG" stop --now --forget written
}
check "a raw image holds no snapshots, in a machine either" raw_holds_none

# ---- accidents ----

check "boot, to kill it" "$CHRIMG" boot --ready none --name accident router.qcow2
pid=$(field accident .pid)
kill -9 "$pid"
ps_tidies() {
    local i
    for ((i = 0; i < 100; i++)); do
        if pid_is_gone "$pid"; then break; fi
        sleep 0.1
    done
    [ -z "$("$CHRIMG" ps --json | jq -r '.instances[].name')" ]
}
check "ps sees that it is gone" ps_tidies
check "and has tidied up" nothing_is_left accident
kill_while_waiting() {
    local boot status
    "$CHRIMG" boot --name accident router.qcow2 >output 2>&1 &
    boot=$!
    until pid=$(field accident 'select(.running).pid') && [ "$pid" ]; do sleep 0.1; done
    kill -9 "$pid"
    wait "$boot"
    status=$?
    cat output
    return "$status"
}
check_exit "QEMU killed while boot waits: said at once" 1 'QEMU ended' kill_while_waiting
boot_interrupted() {
    local boot
    "$CHRIMG" boot --rm --name gone router.qcow2 >output 2>&1 &
    boot=$!
    until [ "$(field gone .running)" = true ]; do sleep 0.1; done
    kill -TERM "$boot"
    wait "$boot"
    [ $? -eq 143 ] && grep -q 'turned off' output
}
check "SIGTERM while boot waits turns the machine off" boot_interrupted
chrimg_killed() {
    local boot
    "$CHRIMG" boot --name orphan router.qcow2 >output 2>&1 &
    boot=$!
    until [ "$(field orphan .running)" = true ]; do sleep 0.1; done
    kill -9 "$boot"
    wait "$boot" 2>/dev/null
    [ "$(field orphan .running)" = true ]
}
check "kill -9 of chrimg leaves the machine to ps" chrimg_killed
check_exit "and to stop" 0 'was turned off' "$CHRIMG" stop --now --forget orphan
check "forget what is left" "$CHRIMG" stop --forget accident

# A stop in another terminal, while boot waits.
stopped_elsewhere() {
    local boot status
    "$CHRIMG" boot --name asked router.qcow2 >output 2>&1 &
    boot=$!
    until [ "$(field asked .running)" = true ]; do sleep 0.1; done
    "$CHRIMG" stop --now asked || return
    wait "$boot"
    status=$?
    cat output
    [ "$(field asked .running)" = false ] || return
    return "$status"
}
check_exit "a stop while boot waits is none of KVM's failures" 1 'QEMU ended' stopped_elsewhere
if grep -q 'started again' output; then ok=1; else ok=0; fi
check_equal "and starts nothing again" "$ok" 0

# What a power cut may leave.
: >"$folders/state/chrimg/asked/record.json"
check_exit "an empty record is damaged" 3 'no record that this chrimg understands' "$CHRIMG" stop asked
check_exit "ps -a does not hide it" 0 '^asked +damaged .*(router.qcow2|-)$' "$CHRIMG" ps -a
check_exit "it can be forgotten, and says what that removes" 0 'removed: .*record.json' \
    "$CHRIMG" stop --forget asked

# A home folder that another host shares.
elsewhere() {
    local record=$folders/state/chrimg/away/record.json
    "$CHRIMG" boot --rm --ready none --name away router.qcow2 || return
    cp "$record" mine.json && jq '.host = "another" | .pid = 1' mine.json >"$record.new" || return
    kill -9 "$(field away .pid)"
    mv "$record.new" "$record"
    "$CHRIMG" ps -a && [ -e "$record" ]
}
check "ps leaves another host's --rm machine alone" elsewhere
check_exit "stop does not judge it" 1 'another host' "$CHRIMG" stop away
check_exit "unless it is told to forget it" 0 'is forgotten' "$CHRIMG" stop --forget away

# Firmware code that is copied, as it is smaller than its flash chip.
code_is_renewed() {
    local code
    "$MKCHR" arm64 arm.img && truncate -s 2M code.fd && truncate -s 64M vars.fd || return
    arm_once && code=("$folders"/state/chrimg/arm/code-*.qcow2) && [ -e "${code[0]}" ] || return
    printf new | dd of=code.fd conv=notrunc status=none
    arm_once && qemu-img convert -O raw "${code[0]}" copied && cmp -n 2097152 copied code.fd
}
arm_once() {
    "$CHRIMG" boot --ready none --name arm --firmware code.fd,vars.fd arm.img && "$CHRIMG" stop --now arm
}
if command -v qemu-system-aarch64 >/dev/null; then
    check "firmware code is copied anew after its source has changed" code_is_renewed
    check "forget that" "$CHRIMG" stop --forget arm
else
    skip "firmware code is copied anew" "qemu-system-aarch64 is not installed"
fi
check "nothing is left" nothing_is_left

# ---- what cannot be ----

check_exit "a pattern that never comes: it says what it heard" 1 'not ready after 2 s' \
    "$CHRIMG" boot --rm --name never --ready 'serial:never said' --timeout 2 router.qcow2
check_exit "a broken pattern" 2 'regular expression|serial:' \
    "$CHRIMG" boot --rm --name never --ready 'serial:(' router.qcow2
check_exit "a QEMU that does not start says why" 1 'QEMU ended: .*pizza' \
    "$CHRIMG" boot --rm --name never --accel tcg --cpu pizza router.qcow2
check_exit "and where the right ones are" 1 'hint: qemu-system-x86_64 -cpu help lists' \
    "$CHRIMG" boot --rm --name never --accel tcg --cpu pizza router.qcow2
linked_runtime() {
    mkdir -m 700 "$folders/other" "$folders/linked" && ln -s "$folders/other" "$folders/linked/chrimg" || return
    XDG_RUNTIME_DIR=$folders/linked "$CHRIMG" boot --name never stock.img
    [ $? -eq 1 ] && [ -z "$(ls -A "$folders/other")" ]
}
check "a link in the place of our folder is refused" linked_runtime
# As when another program takes the port between our look and QEMU's start.
slow_wrapper() {
    cat >qemu-wrapper <<'SH'
#!/bin/sh
case "$*" in *-version*) exec qemu-system-x86_64 "$@" ;; esac
[ -e taken-once ] || { : >taken-once; echo "qemu: Could not set up host forwarding rule 'tcp:x'" >&2; exit 1; }
exec qemu-system-x86_64 "$@"
SH
    chmod +x qemu-wrapper && sed -i "s|taken-once|$PWD/taken-once|g" qemu-wrapper &&
        "$CHRIMG" boot --rm --ready none --name port --qemu ./qemu-wrapper router.qcow2 &&
        [ -e taken-once ] && "$CHRIMG" stop --now port
}
check "a port that is lost at the last moment: another one is taken" slow_wrapper
check_exit "no instance, no console" 1 'no instance' "$CHRIMG" console
check "nothing is left" nothing_is_left

# ---- raw images, run, foreground ----

sum=$(sha256sum <stock.img)
run_code() {
    "$CHRIMG" run stock.img -- sh -c 'curl -s -m 20 "$CHR_HTTP" | grep -q ready && [ "$CHR_SSH" = "$CHR_HOST:$CHR_SSH_PORT" ] && exit 7'
    [ $? -eq 7 ]
}
check "run: the command finds the router, and its exit code is ours" run_code
check_exit "run: what boot says of its plan, run says, too" 3 'can be reached on 0.0.0.0 from outside' \
    "$CHRIMG" run stock.img --ready none --listen 0.0.0.0 -- sh -c 'exit 3'
run_is_quiet() {
    "$CHRIMG" run --ready none --accel tcg stock.img -- true >said 2>&1 && cat said && [ ! -s said ]
}
check "run: that nothing is kept goes without saying" run_is_quiet
# Python starts its children with SIGCHLD as it is told; a shell would not.
run_without_sigchld() {
    python3 -c 'import signal, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
import os
os.execv(sys.argv[1], sys.argv[1:])' "$CHRIMG" run --ready none stock.img -- sh -c 'exit 7'
    [ $? -eq 7 ]
}
check "run: the exit code is the command's where SIGCHLD is ignored, too" run_without_sigchld
check_exit "run: no such command is 127" 127 'cannot run' \
    "$CHRIMG" run --ready none stock.img -- /no/such/command
run_interrupted() {
    local run
    "$CHRIMG" run --ready none stock.img -- sleep 100 >output 2>&1 &
    run=$!
    until [ "$("$CHRIMG" ps --json | jq '.instances | length')" = 1 ] && pgrep -P "$run" sleep >/dev/null; do sleep 0.1; done
    kill -TERM "$run"
    wait "$run"
    [ $? -eq 143 ]
}
check "run: SIGTERM ends the command and the machine" run_interrupted
check "run leaves nothing" nothing_is_left
check_exit "a raw image gets an overlay" 0 'raw image is kept as it is' \
    "$CHRIMG" boot --ready none --name raw stock.img
overlay=("$folders"/state/chrimg/raw/disk-*.qcow2)
check_exit "whose image other commands do not change, and they name the machine" 1 \
    'stock.img is in use: instance raw runs from it' "$CHRIMG" resize stock.img 1G
check_equal "over the image" "$(qemu-img info -U --output=json "${overlay[0]}" | jq -r '."full-backing-filename"')" \
    "$PWD/stock.img"
check "which is ended" "$CHRIMG" stop --now raw
check "the overlay is sound" qemu-img check -q "${overlay[0]}"
check "and holds what the image holds, where nothing was written" qemu-img info --backing-chain "${overlay[0]}"
check_equal "the image is as it was" "$(sha256sum <stock.img)" "$sum"
for option in --rm --throwaway; do
    check_exit "what $option would remove in the end is kept" 1 'keeps what its router has written' \
        "$CHRIMG" boot --ready none --name raw "$option" stock.img
done
check "and is still there" test -e "${overlay[0]}"
touch -d 'now + 5 seconds' stock.img
check_exit "an overlay over a changed image is refused" 1 'has changed since' \
    "$CHRIMG" boot --ready none --name raw stock.img
check "forget it" "$CHRIMG" stop --forget raw
check_exit "foreground: Ctrl-A H helps, Ctrl-A X ends it, the terminal is as before" 0 '^status 0$' \
    console_session quit boot -i --throwaway stock.img
check_exit "foreground: SIGTERM ends it, too" 0 '^status 143$' \
    console_session SIGTERM boot -i --throwaway stock.img
check "nothing is left" nothing_is_left

done_testing
