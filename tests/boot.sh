#!/bin/bash
# Boots stand-ins in QEMU: which image boots on which firmware, before and after `chrimg fatten`.
# BUILD holds chrimg, mkchr and standin/; the last is made here when it is not there.
# shellcheck disable=SC2317  # functions are called through check and check_boot
. "$(dirname "$0")/lib.sh"

standin=$BUILD/standin
ovmf_code=/usr/share/OVMF/OVMF_CODE_4M.fd
ovmf_vars=/usr/share/OVMF/OVMF_VARS_4M.fd
boot_partition_offset=$((34 * 512))
boot_timeout=120
autorun_line='/system identity set name=stand-in'
serial=$WORK/serial
machine=q35
qemu_pid=

stop_qemu() {
    [ "$qemu_pid" ] || return 0
    kill "$qemu_pid" 2>/dev/null
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
}
trap 'status=$?; stop_qemu; (exit $status); tap_end' EXIT

# check of lib.sh, but in this shell, so that QEMU is stopped whatever happens; skips where the firmware
# cannot be had.
check_boot() { # NAME bios|uefi COMMAND...
    local name=$1 firmware=$2
    shift 2
    if ! command -v qemu-system-x86_64 >/dev/null; then
        skip "$name" 'qemu-system-x86_64 is not installed'
    elif [[ $firmware == uefi && ! (-e $ovmf_code && -e $ovmf_vars) ]]; then
        skip "$name" 'OVMF is not installed'
    else
        : >"$serial"
        if "$@" >output 2>&1; then
            ok "$name"
        else
            not_ok "$name" "$(cat output)"
            diag "$(tail -n 15 "$serial" | tr -cd '[:print:]\n')"
        fi
        stop_qemu
    fi
}

# ---- QEMU ----

# Nothing listens there now. Should that change before QEMU does, the test fails and says so.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# The image is opened read-only: what the guest writes is thrown away.
start_qemu() { # IMG bios|uefi PORT
    local firmware=()
    if [[ $2 == uefi ]]; then
        cp "$ovmf_vars" vars
        firmware=(-drive "if=pflash,format=raw,readonly=on,file=$ovmf_code"
            -drive "if=pflash,format=raw,file=vars")
    fi
    : >"$serial"
    qemu-system-x86_64 -machine "$machine" -accel tcg -m 512 -display none -serial "file:$serial" \
        -drive "file=$1,format=raw,if=none,id=disk,snapshot=on" -device virtio-blk-pci,drive=disk,bootindex=0 \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$3-:80" -device virtio-net-pci,netdev=net,romfile= \
        "${firmware[@]}" &
    qemu_pid=$!
}

qemu_runs() { kill -0 "$qemu_pid" 2>/dev/null; }

boot_until_http() { # IMG bios|uefi TIMEOUT
    local port deadline
    port=$(free_port)
    deadline=$((SECONDS + $3))
    start_qemu "$1" "$2" "$port"
    while ((SECONDS < deadline)) && qemu_runs; do
        # Not longer: a signal is heard only between two commands.
        if [[ $(curl -s -o /dev/null -w '%{http_code}' -m 5 "http://127.0.0.1:$port/") == 200 ]]; then
            echo "HTTP 200 after $((SECONDS - deadline + $3)) s"
            stop_qemu
            return 0
        fi
        sleep 0.3
    done
    echo "no HTTP answer in $3 s"
    stop_qemu
    return 1
}

# Succeeds when PATTERN comes, fails when UNWANTED comes before it.
boot_until_serial() { # IMG bios|uefi TIMEOUT PATTERN UNWANTED
    local deadline=$((SECONDS + $3)) result=1
    start_qemu "$1" "$2" "$(free_port)"
    while ((SECONDS < deadline)) && qemu_runs; do
        if grep -aqE "$5" "$serial"; then break; fi
        if grep -aqE "$4" "$serial"; then
            result=0
            break
        fi
        sleep 0.2
    done
    stop_qemu
    return "$result"
}

# ---- images ----

make_stock() {
    "$SRC/scripts/standin" "$standin" || return
    echo "$autorun_line" >autorun
    "$MKCHR" 7.19 stock.img --kernel "$standin/BOOTX64.EFI" --bios "$standin/bios" \
        --autorun autorun
}

# Block number INDEX of a file on the boot partition.
file_block() { # IMG PATH INDEX
    debugfs -R "bmap $2 $3" "$1?offset=$boot_partition_offset" 2>/dev/null
}

# As a copy to another file system would: the content is on the disk still, elsewhere.
make_moved() { # OUT PATH INDEX
    local from to=8000 position
    cp --sparse=always stock.img "$1" || return
    from=$(file_block stock.img "$2" "$3")
    [[ $from =~ ^[1-9][0-9]*$ ]] || { echo "no block $3 of $2"; return 1; }
    position=$((boot_partition_offset + from * 4096))
    dd if=stock.img of="$1" iflag=skip_bytes oflag=seek_bytes conv=notrunc status=none \
        bs=512 count=1 skip="$position" seek=$((boot_partition_offset + to * 4096)) || return
    dd if=/dev/zero of="$1" oflag=seek_bytes conv=notrunc status=none bs=512 count=1 seek="$position"
}

# ---- tests ----

shows_autorun() { # what the last boot wrote
    sed -n '/^chrimg-autorun-begin/,/^chrimg-autorun-end/p' serial.kept | tr -d '\r' | grep -qxF "$autorun_line"
}

boots_showing_autorun() { # IMG FIRMWARE
    boot_until_http "$1" "$2" "$boot_timeout" && cp "$serial" serial.kept && shows_autorun
}

stops_at_moved_sector() { # IMG
    boot_until_serial "$1" bios 60 'map: sector moved' 'standin:'
}

moved_does_not_boot() { # PATH INDEX
    make_moved moved.img "$1" "$2" && stops_at_moved_sector moved.img
}

firmware_finds_no_loader() { # IMG
    boot_until_serial "$1" uefi 25 'failed to load Boot.*"UEFI Misc Device"|UEFI Interactive Shell' 'standin:'
}

fatten() { # OUT OPTION...
    local out=$1
    shift
    rm -f "$out"
    "$CHRIMG" fatten stock.img -o "$out" "$@"
}

fattened_boots() { fatten fat.img && boots_showing_autorun fat.img "$1"; }
compact_boots() { fatten compact.img --layout compact && boots_showing_autorun compact.img "$1"; }
# Its boot code would load what is no longer there, so it is replaced by a message.
compact_says_so() {
    fatten compact.img --layout compact || return
    # Without graphics SeaBIOS shows on the serial line what is printed on the screen.
    local machine=q35,graphics=off
    boot_until_serial compact.img bios 60 'chrimg: this disk boots with UEFI only' 'standin:'
}

check 'a stock stand-in can be made' make_stock
check_boot 'stock stand-in boots on SeaBIOS' bios boot_until_http stock.img bios $boot_timeout
check_boot 'stock stand-in shows its autorun.scr' bios boots_showing_autorun stock.img bios
check_boot 'stock stand-in does not boot on OVMF' uefi firmware_finds_no_loader stock.img
check_boot 'a moved kernel sector stops the BIOS loader' bios moved_does_not_boot /EFI/BOOT/BOOTX64.EFI 500
check_boot 'a moved sector of the map stops the BIOS loader' bios moved_does_not_boot /map 3
check_boot 'the moved first sector of the map stops the BIOS loader' bios moved_does_not_boot /map 0
check_boot 'fattened image boots on SeaBIOS' bios fattened_boots bios
check_boot 'fattened image boots on OVMF' uefi fattened_boots uefi
check_boot 'compact image says on a BIOS that it wants UEFI' bios compact_says_so
check_boot 'compact image boots on OVMF' uefi compact_boots uefi
done_testing
