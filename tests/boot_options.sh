#!/usr/bin/env bash
# Options of `chrimg boot` as they are typed: what is refused and in which words, and what reaches QEMU's
# arguments. No guest is started.
# shellcheck disable=SC2016,SC2317  # functions are called through check; dollars are for jq and sh
. "$(dirname "$0")/lib.sh"
needs_tool qemu-system-x86_64

export XDG_RUNTIME_DIR=$WORK/r XDG_STATE_HOME=$WORK/s XDG_CACHE_HOME=$WORK/c XDG_CONFIG_HOME=$WORK/config
mkdir -m 700 r

make_images() {
    "$MKCHR" 7.19 stock.img && "$MKCHR" fat fat.img && "$MKCHR" arm64 arm.img && "$MKCHR" v6 'v6, "old".img'
}
check 'stand-ins can be made' make_images

# refuses STATUS PATTERN OPTION...: and nothing is left behind.
refuses() {
    check_exit "boot ${*:3}: $2" "$1" "$2" "$CHRIMG" boot "${@:3}"
}

# shows PATTERN OPTION...
shows() {
    check_exit "boot ${*:2}: $1" 0 "$1" "$CHRIMG" boot --print "${@:2}"
}

# ---- spelling ----

refuses 2 'name the image'
refuses 2 'one image at a time' a.img b.img
refuses 2 'there is no option --turbo' --turbo stock.img
refuses 2 '--mem is a size like 256M or 1G, not much' --mem much stock.img
refuses 2 '--mem is a size' --mem '' stock.img
refuses 2 '--mem is a size' --mem -256 stock.img
refuses 2 '--mem is a size' --mem 99999999999999999999 stock.img
refuses 2 '--mem is a size' --mem 1048577T stock.img
refuses 2 '--mem: whole MiB, from 64M to 4T, not 63M' --mem 63M stock.img
refuses 2 'not 12M' --mem 12 stock.img
refuses 2 'not 64K' --mem 64K stock.img
refuses 2 'not 9999G' --mem 9999G stock.img
refuses 2 'hint: --mem 256M' --mem 12 stock.img
refuses 2 '--mem: whole MiB' --mem 262145K stock.img
refuses 2 '--cpus is 1 to 255' --cpus 0 stock.img
refuses 2 '--cpus is 1 to 255' --cpus 1e3 stock.img
refuses 2 '--smp is like' --smp 4,dies=2 stock.img
refuses 2 '--smp is like' --smp 4,2 stock.img
refuses 2 '--smp is like' --smp 4, stock.img
refuses 2 'do not come out' --smp 3,cores=2 stock.img
refuses 2 '--accel is kvm, hvf or tcg' --accel xen stock.img
refuses 2 '--disk-bus is virtio' --disk-bus floppy stock.img
refuses 2 '--net tap wants a name' --net tap stock.img
refuses 2 '--net tap wants a name' --net tap: stock.img
refuses 2 '--net user has no name' --net user:x stock.img
refuses 2 '--net wifi: user, tap:IF' --net wifi stock.img
refuses 2 'at most 8 networks' --net=socket:{a..i} stock.img
refuses 2 'longer than 63 bytes' --net "socket:$(printf 'x%.0s' {1..64})" stock.img
for forward in 80 :80 80: 80:0 70000:80 1-2:80 2-1:80-81 0-1:80-81 1:80/sctp =1:80 9x=1:80 a:b '1:80 ' 1:80/udp/tcp; do
    refuses 2 '--forward is like' --forward "$forward" stock.img
done
refuses 2 '--listen is an IPv4 address' --listen localhost stock.img
refuses 2 '--vfio card: no PCI address' --vfio card stock.img
refuses 2 'no regular expression' --ready 'serial:[' stock.img
refuses 2 '--ready is http, tcp:PORT' --ready tcp:0 stock.img
refuses 2 '--ready is http, tcp:PORT' --ready serial: stock.img
refuses 2 '--timeout is 1 to 86400' --timeout 0 stock.img
refuses 2 '--uefi and --bios exclude' --uefi --bios stock.img
refuses 2 '--write and --throwaway exclude' --write --throwaway stock.img
refuses 2 'one of --print, --script' --print --script stock.img
refuses 2 '-i goes with no --systemd' -i --systemd stock.img
refuses 2 '-i and --json exclude' -i --json stock.img
refuses 2 '--json reports a start' --json --print stock.img
refuses 2 '-i waits for nothing: leave out --ready' -i --ready serial:x stock.img
refuses 2 '--ready http needs --net user' --net none --ready http stock.img
refuses 2 'hint: --ready serial:PATTERN' --net socket:x --ready tcp:22 stock.img
refuses 2 '--name: 1 to 32 .*not "../x"' --name ../x stock.img
refuses 2 '--firmware is CODE or CODE,VARS' --firmware ,x stock.img
refuses 2 'is no name for a unit' --systemd='a b' stock.img

mkdir ini && refuses 2 '--readconfig ini is a folder; name the file' --readconfig ini stock.img
check_exit 'stop --now --timeout' 2 '--now and --timeout exclude' "$CHRIMG" stop --now --timeout 4 r
run_refuses() { check_exit "run ${*:2}: $1" 2 "$1" "$CHRIMG" run "${@:2}"; } # PATTERN ARGUMENT...
run_refuses 'hint: --ready serial:PATTERN .*, --ready none' --net none stock.img -- true
run_refuses 'HTTP cannot be waited for' --net socket:x stock.img -- true
run_refuses '--ready http needs --net user' --net none --ready http stock.img -- true
run_refuses '--mem is a size' stock.img --mem much -- true
run_refuses '-i, --write, --json' stock.img --json -- true
run_refuses '-- goes before the command: IMG -- CMD...; what is true' stock.img true
run_refuses 'what is --accel' stock.img --accel tcg true
run_refuses 'what is other.img' stock.img other.img -- true
run_refuses 'name the image and the command' stock.img --
run_refuses 'name the image and the command' stock.img
run_refuses 'name the image and the command' -- true
check_exit 'run: options may stand behind the image, and after -- they are the command'"'"'s' 127 \
    'cannot run ./no-such-program: ' "$CHRIMG" run stock.img --accel tcg -- ./no-such-program --accel kvm

unreachable() { "$CHRIMG" boot --ready tcp:99 stock.img; }
check_exit '--ready of a port that nothing leads to' 2 'hint: --forward 0:99 adds it' unreachable

# ---- what cannot be, on this host or with this image ----

refuses 1 'hint: chrimg fatten stock.img makes' --uefi stock.img
refuses 2 'no BIOS for aarch64' --bios arm.img
refuses 1 'there is no such interface' --net tap:chrimgtest9 stock.img
refuses 1 'sudo ip tuntap add dev chrimgtest9 mode tap' --net tap:chrimgtest9 stock.img
refuses 1 'macOS only' --net vmnet-host stock.img
refuses 1 'macOS only' --accel hvf stock.img
refuses 1 'no such PCI device' --vfio ffff:ff:1f.7 stock.img
refuses 1 'there is no such program' --qemu ./no-qemu stock.img
refuses 1 'firmware ./no.fd' --firmware ./no.fd fat.img
refuses 1 'hint: --firmware is CODE or CODE,VARS, which are files' --firmware ./no.fd fat.img
refuses 1 'hint: chrimg doctor shows' --qemu ./no-qemu stock.img
refuses 1 'hint: (ip -4 addr|ifconfig) shows' --listen 192.0.2.77 stock.img
refuses 1 'cannot open no.img: .*' no.img
refuses 1 'hint: is the name right\? ls \. shows' no.img
refuses 1 "hint: is the name right\? ls 'a b' shows" 'a b/no.img'
refuses 1 'hint: is the name right\? ls / shows' /no.img
refuses 1 'no interface of this host has that address' --listen 192.0.2.77 stock.img
cp stock.img "my router's.img" && refuses 1 "hint: chrimg fatten 'my router'.''s.img' makes" --uefi "my router's.img"
check_exit 'a snapshot of it: the names in the hint are words of a shell' 1 \
    "hint: chrimg convert 'my router'.''s.img' 'my router'.''s.qcow2'" "$CHRIMG" snapshot -c a "my router's.img"
zip -q stock.zip stock.img 2>/dev/null && refuses 1 'is a zip' stock.zip
refuses 1 '^chrimg: stock.img does not boot with UEFI' --uefi stock.img
refuses 1 '^chrimg: ./stock.zip is a zip' ./stock.zip
refuses 1 'hint: chrimg convert ./stock.zip' ./stock.zip
check_equal 'nothing is left behind' "$(ls r s 2>/dev/null)" 'r:'

# QEMU says so itself: nothing of that start stays.
refuses 1 'QEMU ended: .*nonsense' --accel tcg --cpu nonsense stock.img
check_equal 'nothing of it is left' "$("$CHRIMG" ps -a --json | tr -d ' \n')" '{"schema":1,"instances":[]}'

# ---- folders that cannot be had ----

# Also for root, for whom every folder can be written to.
: >file
chmod 700 r
check_exit 'a state folder that cannot be: which variable names another' 1 'hint: set XDG_STATE_HOME to a folder' \
    env XDG_STATE_HOME="$WORK/file" "$CHRIMG" boot stock.img
check_exit 'a runtime folder that cannot be' 1 'hint: set XDG_RUNTIME_DIR to a folder' \
    env XDG_RUNTIME_DIR="$WORK/file" "$CHRIMG" boot --throwaway stock.img
mkdir open && mkdir -m 755 open/chrimg
check_exit 'a state folder that others may read' 1 'hint: it must be yours, with mode 0700; or set XDG_STATE_HOME' \
    env XDG_STATE_HOME="$WORK/open" "$CHRIMG" boot stock.img
check_exit 'a state folder that is none: ps says so' 1 'hint: set XDG_STATE_HOME to a folder' \
    env XDG_STATE_HOME="$WORK/file" "$CHRIMG" ps
doctor_of() { # VARIABLE=VALUE PATTERN
    check_exit "doctor, $1: $2" 1 "$2" env "$1" "$CHRIMG" doctor
}
doctor_of XDG_STATE_HOME=/proc/x 'missing +instances: cannot make the folder /proc/x'
doctor_of XDG_STATE_HOME=/proc/x 'set XDG_STATE_HOME to a folder'
doctor_of XDG_STATE_HOME="$WORK/open" 'missing +instances: .*others may use it'
doctor_of XDG_RUNTIME_DIR="$WORK/file" 'missing +instances: .*'
mkdir -p 'wide/chrimg' && chmod 777 wide/chrimg
doctor_of XDG_RUNTIME_DIR="$WORK/wide" 'missing +instances: .*others may use it'
# A file system without any room: its only byte is taken.
without_room() { # VARIABLE
    unshare -rm sh -c 'mkdir -p full && mount -t tmpfs -o size=4k,mode=700 none full && printf x >full/x &&
        env "$1=$PWD/full" "$CHRIMG" doctor' - "$1"
}
export CHRIMG
for variable in XDG_STATE_HOME XDG_RUNTIME_DIR; do
    if unshare -rm true 2>/dev/null; then
        check_exit "doctor: no room for $variable" 1 'missing +instances: cannot write .*[Nn]o space' without_room "$variable"
        check_exit "and what to do" 1 "set $variable to a folder" without_room "$variable"
    else
        skip "doctor: no room for $variable" 'no mount namespace can be made here'
    fi
done
long=$WORK/$(printf 'l%.0s' $(seq $((103 - 13 - 20 - ${#WORK} - 8))))
mkdir -m 700 "$long"
check_exit 'doctor: a runtime folder with room for short names only' 0 'lacking +instances: .*leaves 20 of the 32' \
    env XDG_RUNTIME_DIR="$long" "$CHRIMG" doctor
long=$WORK/$(printf 'l%.0s' {1..100})
mkdir -m 700 "$long"
doctor_of XDG_RUNTIME_DIR="$long" 'missing +instances: .*leaves 0 of the 32'
rm -rf wide "$WORK"/lll*
# What makes a folder is not lost to what tidies up, at the same time.
beside_ps() {
    local i failed=0 tidying=()
    for i in 1 2 3; do
        while [ ! -e over ]; do "$CHRIMG" ps -a >/dev/null 2>&1; done &
        tidying+=($!)
    done
    for ((i = 0; i < 100 && failed == 0; i++)); do
        "$CHRIMG" doctor >said 2>&1
        if grep -qE 'missing +instances|cannot look at' said; then failed=1; cat said; fi
    done
    : >over
    wait "${tidying[@]}"
    return "$failed"
}
check 'doctor, and so boot, beside ps in a loop' beside_ps
# Words of a path are not broken: one alone may be longer than a line.
too_wide() { # COLUMNS COMMAND...
    script -qec "stty cols $1 rows 24; NO_COLOR=1 '$CHRIMG' ${*:2}" /dev/null </dev/null | tr -d '\r' |
        awk -v columns="$1" 'length > columns && NF > 1; END { exit !NR }'
}
if command -v script >/dev/null; then
    for columns in 40 60 80; do
        check_equal "doctor wraps at $columns columns" "$(too_wide "$columns" doctor || echo nothing)" ''
    done
    "$CHRIMG" convert stock.img tags.qcow2 && "$CHRIMG" snapshot -c a-tag-that-tells tags.qcow2
    for columns in 50 79; do
        check_equal "snapshot -l wraps at $columns columns" \
            "$(too_wide "$columns" snapshot -l tags.qcow2 || echo nothing)" ''
    done
else
    skip 'doctor wraps at the terminal' 'script is not installed'
fi
check_equal 'doctor leaves nothing behind' "$(find r s -mindepth 1 2>/dev/null)" ''
rm -rf open s
check_equal 'nothing is left behind' "$(ls r s 2>/dev/null)" 'r:'

# ---- run: the command is looked for before the machine is started ----

run_of() { # CMD...; no machine is started: QEMU would say that its image is not there
    "$CHRIMG" run --ready none no.img -- "$@"
}
: >plain-file && mkdir bin && : >bin/no-program
check_exit 'run: no such program' 127 'cannot run /no/such/command: No such file' run_of /no/such/command
check_exit 'run: none in PATH' 127 'cannot run no-such-command' run_of no-such-command
check_exit 'run: a file that is no program' 126 'cannot run ./plain-file: Permission denied' run_of ./plain-file
check_exit 'run: a folder' 126 'cannot run /tmp: Permission denied' run_of /tmp
no_program_in_path() { PATH=$WORK/bin:$PATH run_of no-program; }
check_exit 'run: in PATH, but no program' 126 'cannot run no-program: Permission denied' no_program_in_path
check_exit 'run: a program in PATH; then the image' 1 'no.img' run_of true
rm -r bin

# ---- what reaches the arguments ----

shows 'qemu-system-x86_64 -name stock ' stock.img
shows '-machine q35,graphics=off' stock.img
shows '-name v6---old- .*disk-[0-9a-f]{8}.qcow2' 'v6, "old".img'
shows '-m 96M' --mem 96 stock.img
shows '-m 1024M' --mem 1g stock.img
shows '-smp 4,cores=2,threads=2' --smp cpus=4,cores=2,threads=2 stock.img
shows '-smp 2 ' --cpus 2 stock.img
shows '-accel tcg,tb-size=256 -cpu qemu64' --accel tcg --cpu qemu64 stock.img
shows 'nvme,serial=chr0' --disk-bus nvme stock.img
shows 'hostfwd=tcp:127.0.0.1:18080-:80,hostfwd=udp:127.0.0.1:15000-:6000,hostfwd=udp:127.0.0.1:15001-:6001 ' \
    --forward none --forward web=18080:80 --forward 15000-15001:6000-6001/udp stock.img
shows 'user,id=net0,.*socket,id=net1,mcast=239.255[^ ]*,localaddr=127.0.0.1' --net socket:lan --net user stock.img
shows 'format=raw,file=[^ ]*/stock.img,[^ ]*snapshot=on' --throwaway stock.img
shows 'format=raw,file=[^ ]*/stock.img,discard=unmap,detect-zeroes=unmap ' --write stock.img
shows 'stdio,id=serial0,mux=on' -i stock.img
if command -v qemu-system-aarch64 >/dev/null && [ -e /usr/share/AAVMF/AAVMF_CODE.fd ]; then
    shows 'qemu-system-aarch64 .*-machine virt .*unit=0.*unit=1.*virtio-blk-pci' arm.img
else
    skip 'an aarch64 image' 'its QEMU or firmware is not installed'
fi

# A descriptor of the user's own comes first, and hides the system's of the same name.
mkdir -p config/qemu/firmware
truncate -s 2M code.fd
truncate -s 128K vars.fd
for feature in acpi-s3 enrolled-keys; do
    printf '{"interface-types": ["uefi"], "features": ["%s"],
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "mapping": {"device": "flash", "executable": {"filename": "%s", "format": "raw"},
            "nvram-template": {"filename": "%s", "format": "raw"}}}' "$feature" "$WORK/code.fd" "$WORK/vars.fd" \
        >config/qemu/firmware/00-mine.json
    if [ "$feature" = acpi-s3 ]; then
        shows "file=$WORK/code.fd,readonly=on .*vars-[0-9a-f]{8}-128k.qcow2" --uefi fat.img
    elif [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ]; then
        shows 'unit=0,format=raw,file=/usr/share/' --uefi fat.img
    fi
done
shows "file=$WORK/code.fd,readonly=on .*vars-[0-9a-f]{8}-128k.qcow2" --firmware code.fd,vars.fd fat.img
shows "file=$WORK/a,,b.fd,readonly=on" --firmware "$(cp code.fd a,b.fd && echo a,b.fd)" fat.img

# ---- files for other tools ----

check_exit '--readconfig writes the file, and names it by its whole path' 0 " -readconfig $WORK/router.ini " "$CHRIMG" boot --readconfig router.ini stock.img
check 'the file is INI for QEMU' grep -q '^\[machine\]$' router.ini
check_exit '--script' 0 '^#!/bin/sh' "$CHRIMG" boot --script stock.img
check_exit '--systemd' 0 '^# /etc/systemd/system/chrimg-stock.service' "$CHRIMG" boot --systemd stock.img
check_exit '--systemd=UNIT' 0 '^# /etc/systemd/system/edge.service' "$CHRIMG" boot --systemd=edge stock.img
check_exit '--libvirt' 0 '<name>stock</name>' "$CHRIMG" boot --libvirt stock.img
check_equal 'showing makes no instance' "$(ls r s 2>/dev/null)" 'r:'

done_testing
