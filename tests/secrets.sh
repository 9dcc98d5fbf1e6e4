#!/usr/bin/env bash
# Where a secret may be found that went through inject: in the image, and nowhere else.
# Files, messages, the process list, what is written to any descriptor, and the memory of
# chrimg at its end are searched.
# shellcheck disable=SC2317 # functions are called through check
. "$(dirname "$0")/judge/lib.sh"
needs_tool strace debugfs qemu-img jq

SCANNER=$BUILD/tests/secrets/scanner.so
secret='S3cret_of_the_test_4711'
# Never in an argument of a program, this one included: printf is the shell's own.
mkdir vault bin
printf '%s' "$secret" >vault/password
export VAULT=$PWD/vault

# Programs that know it; slow enough to be seen in the process list.
cat >bin/op <<'E'
#!/bin/sh
case " $* " in *" read "*" op://routers/edge/password "*) ;; *) exit 9 ;; esac
sleep 0.3
cat "$VAULT/password"
E
cat >bin/keeper <<'E'
#!/bin/sh
sleep 0.3
cat "$VAULT/password"
E
chmod +x bin/op bin/keeper
PATH=$PWD/bin:$PATH

# How often the secret is in what comes in.
count() { grep -aoF -f vault/password | wc -l; }

# watch_processes FILE: the command lines of all processes, again and again, until FILE.stop is there.
watch_processes() {
    while [ ! -e "$1.stop" ]; do
        for line in /proc/[0-9]*/cmdline; do
            tr '\0' ' ' 2>/dev/null <"$line"
            echo
        done
    done | sort -u >"$1"
}

reference_of() {
    case $1 in
    env) echo 'env://ROUTER_SECRET' ;;
    file) echo "file://$VAULT/password" ;;
    op) echo 'op://routers/edge/password' ;;
    cmd) echo 'cmd://keeper' ;;
    esac
}

# run_injection KIND IMAGE [ARGUMENT...]: its output is in out.
run_injection() {
    local kind=$1 image=$2
    shift 2
    echo "/user set admin password={{ $(reference_of "$kind") }}" >"$kind.rsc"
    if [ "$kind" = env ]; then ROUTER_SECRET=$(cat vault/password) && export ROUTER_SECRET; fi
    "${prefix[@]}" "$CHRIMG" inject --allow-cmd keeper=keeper --replace "$@" "$image" "$kind.rsc" >out 2>&1
    local status=$?
    unset ROUTER_SECRET
    return $status
}

"$MKCHR" 7.19 old.img
qemu-img convert -c -O qcow2 old.img old.qcow2
prefix=()

for kind in env file op cmd; do
    for format in img qcow2; do
        cp --sparse=always "old.$format" "new.$format"
        rm -f processes*
        watch_processes processes &
        watcher=$!
        check "$kind, $format: inject" run_injection "$kind" "new.$format"
        : >processes.stop
        wait "$watcher"
        check "$kind, $format: the process list was seen" grep -q 'chrimg inject\|watch\|bash' processes
        check_equal "$kind, $format: in no argument of a process" "$(count <processes)" 0
        check_equal "$kind, $format: not in what was said" "$(count <out)" 0
        check_equal "$kind, $format: it is in the image" \
            "$("$CHRIMG" cat "new.$format:/rw/autorun.scr" | count)" 1
        rm -f "new.$format"
        check_equal "$kind, $format: in no file besides" \
            "$(grep -rlaF -f vault/password . | grep -vc '^./vault/')" 0
        check_equal "$kind, $format: nothing is left" "$(find . -name '.*chrimg*')" ""
    done
done

# ---- what is said ----

cp --sparse=always old.img new.img
for arguments in -n "-n --json" --json; do
    # shellcheck disable=SC2086 # words
    run_injection file new.img $arguments
    check_equal "$arguments: not in what was said" "$(count <out)" 0
    check "$arguments: but something was" test -s out
done
check_equal "--json: it is JSON" "$(jq -r .schema out)" 1
# Errors behind it: in the script, in the image.
printf '/user set admin password={{ file://%s }} comment="open\n' "$VAULT/password" >bad.rsc
check_exit "an error of the script" 1 'bad.rsc' "$CHRIMG" inject --replace new.img bad.rsc
check_equal "does not quote it" "$("$CHRIMG" inject --replace new.img bad.rsc 2>&1 | count)" 0
printf '/user set admin password={{ file://%s }}\n/user add name={{ env://NOT_THERE }}\n' "$VAULT/password" >bad.rsc
check_equal "a missing reference does not" "$("$CHRIMG" inject --replace new.img bad.rsc 2>&1 | count)" 0
# A program that tells standard error what it knows, and then fails.
cat >bin/talker <<'E'
#!/bin/sh
value=$(cat "$VAULT/password")
printf '%s\n' "$value"
echo "locked: $value" >&2
exit 7
E
chmod +x bin/talker
echo '/user set admin password={{ cmd://talker }}' >talker.rsc
"$CHRIMG" inject --replace --allow-cmd talker=talker new.img talker.rsc >out 2>&1
check_equal "a program that fails after it printed the value is not quoted" "$(count <out)" 0
check "but its exit status" grep -q 'talker printed something .* exit status 7; .*not shown' out
check "and what to do" grep -q '^hint: run it by hand' out
# What an earlier run has put there.
run_injection file new.img
printf '/system identity set name=x\n' >other.rsc
check_exit "a refusal to replace shows commands" 1 '/user set admin' "$CHRIMG" inject new.img other.rsc
check_equal "and not the secret" "$("$CHRIMG" inject new.img other.rsc 2>&1 | count)" 0
printf 'password={{ file://%s }}\n' "$VAULT/password" | "$CHRIMG" inject -n --append new.img - >out 2>&1
check_equal "nor what came through a pipe" "$(count <out)" 0

# The same of a longer value: nothing that is said differs, so its length is not said.
printf '/user set admin password={{ env://LENGTH }}\n' >length.rsc
said() { # LENGTH [ARGUMENT...]
    LENGTH=$(printf "%0$1d" 0) "$CHRIMG" inject "${@:2}" 2>&1
}
for arguments in "-n --replace" "-n --replace --json" "-n --append" "-n --append --json"; do
    # shellcheck disable=SC2086 # words
    check_equal "$arguments: not the length of a value" "$(said 9 $arguments new.img length.rsc)" \
        "$(said 30 $arguments new.img length.rsc)"
done
for length in 9 30; do
    cp --sparse=always old.img long.img
    said $length long.img length.rsc >"said.$length"
    "$CHRIMG" inject long.img other.rsc >>"said.$length" 2>&1
done
check "nor when it is written, nor of a script that is there" cmp said.9 said.30
printf '/user set admin password=000\n' | "$CHRIMG" inject -n --replace new.img - >said.3 2>&1
printf '/user set admin password=000000\n' | "$CHRIMG" inject -n --replace new.img - >said.6 2>&1
check "nor what came through a pipe" cmp said.3 said.6
rm -f long.img said.*

# ---- what is written, and to whom ----

# LeakSanitizer cannot work in a process that is traced.
untraced_options=$ASAN_OPTIONS
ASAN_OPTIONS+=:detect_leaks=0
for format in img qcow2; do
    cp --sparse=always "old.$format" "new.$format"
    prefix=(strace -f -y -qq -s 70000 -o trace -e 'trace=write,pwrite64,writev,pwritev,sendto,execve')
    check "$format: inject under strace" run_injection file "new.$format"
    grep -aF -f vault/password trace >hits
    check "$format: it is written" test -s hits
    check_equal "$format: to the image alone" "$(grep -avcE "pwrite64\([0-9]+<$PWD/new.$format>" hits)" 0
    rm -f trace hits
done
ASAN_OPTIONS=$untraced_options

# ---- memory ----

"$BUILD/tests/secrets/mask" <vault/password >masked
# scan COMMAND...: how often the secret is in its memory at its end.
scan() {
    rm -f scanned
    prefix=(env LD_PRELOAD="$SCANNER" SCAN_SECRET="$PWD/masked" SCAN_REPORT="$PWD/scanned")
    "$@"
    prefix=()
    sed -n 's/^found //p' scanned
}
if under_sanitizer "$CHRIMG"; then
    skip "memory" "AddressSanitizer keeps what was freed"
else
    shown() { "${prefix[@]}" "$CHRIMG" cat new.img:/rw/autorun.scr >/dev/null; }
    cp --sparse=always old.img new.img
    run_injection file new.img
    check "the scanner finds what is there" test "$(scan shown)" -gt 0
    for format in img qcow2; do
        cp --sparse=always "old.$format" "new.$format"
        check_equal "$format: memory is wiped" "$(scan run_injection file "new.$format")" 0
        check_equal "$format: after --append, too" "$(scan run_injection file "new.$format" --file file.rsc)" 0
        check_equal "$format: after a dry run, too" "$(scan run_injection file "new.$format" -n)" 0
    done
    failing() { "${prefix[@]}" "$CHRIMG" inject new.img bad.rsc 2>/dev/null; }
    check_equal "after a failure, too" "$(scan failing)" 0
fi

# A program that is asked does not go on when nobody is left to hear it.
cat >bin/keeper <<'E'
#!/bin/sh
echo $$ >keeper.pid
exec sleep 600
E
echo '/user set admin comment={{ cmd://keeper }}' >slow.rsc
signal_ends_the_program() { # SIGNAL
    local pid program status
    rm -f keeper.pid
    env --default-signal=INT "$CHRIMG" inject --replace --allow-cmd keeper=keeper new.img slow.rsc &
    pid=$!
    until [ -s keeper.pid ]; do kill -0 "$pid" || return; sleep 0.02; done
    program=$(cat keeper.pid)
    kill -s "$1" "$pid"
    wait "$pid"
    status=$?
    [ $status -eq $((128 + $(kill -l "$1"))) ] && ! kill -0 "$program" 2>/dev/null
}
for signal in INT TERM HUP; do
    check "SIG$signal ends the program that is asked" signal_ends_the_program $signal
done

# No core dump, and no debugger of the same user.
cat >bin/keeper <<'E'
#!/bin/sh
grep '^Max core' /proc/$PPID/limits | tr -s ' ' | cut -d ' ' -f 5
E
echo '/user set admin comment={{ cmd://keeper }}' >limits.rsc
"$CHRIMG" inject --replace --allow-cmd keeper=keeper new.img limits.rsc >/dev/null
check_exit "core dumps are off" 0 'comment="0"' "$CHRIMG" cat new.img:/rw/autorun.scr

done_testing
