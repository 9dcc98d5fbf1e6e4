# Booting images in QEMU, for tests.  Sourcing it sources tests/lib.sh as well, and sees
# to it that no QEMU outlives the script.
# BUILD holds chrimg, mkchr and standin/; the last is made here when it is not there.
# shellcheck shell=bash disable=SC2317  # functions are called through check and check_boot

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

standin=$BUILD/standin
ovmf_code=/usr/share/OVMF/OVMF_CODE_4M.fd
ovmf_vars=/usr/share/OVMF/OVMF_VARS_4M.fd
boot_timeout=120
# The image is opened read-only: what the guest writes is thrown away.
disk_options=format=raw,snapshot=on
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

# Nothing listens there now, and no connection to elsewhere begins there (these have 32768 and above). Should that
# change before QEMU does, the test fails and says so.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

start_qemu() { # IMG bios|uefi PORT
    local firmware=()
    if [[ $2 == uefi ]]; then
        cp "$ovmf_vars" vars
        firmware=(-drive "if=pflash,format=raw,readonly=on,file=$ovmf_code"
            -drive "if=pflash,format=raw,file=vars")
    fi
    : >"$serial"
    qemu-system-x86_64 -machine "$machine" -accel tcg -m 512 -display none -serial "file:$serial" \
        -drive "file=$1,$disk_options,if=none,id=disk" -device virtio-blk-pci,drive=disk,bootindex=0 \
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

make_stock() { # MKCHR-OPTION...
    "$SRC/scripts/standin" "$standin" || return
    echo "$autorun_line" >autorun
    "$MKCHR" 7.19 stock.img --kernel "$standin/BOOTX64.EFI" --bios "$standin/bios" \
        --autorun autorun "$@"
}

# Byte for byte what the guest has shown of rw/autorun.scr.
autorun_bytes() { # SERIAL-LOG
    local from to
    from=$(grep -abo -m 1 'chrimg-autorun-begin' "$1" | head -n 1 | cut -d: -f1)
    to=$(grep -abo -m 1 'chrimg-autorun-end' "$1" | head -n 1 | cut -d: -f1)
    [[ $from && $to ]] || { echo "$1 shows no autorun.scr" >&2; return 1; }
    from=$((from + 22))     # the marker, CR, LF
    tail -c +$((from + 1)) "$1" | head -c $((to - from - 1))
}

shows_autorun() { # what the last boot wrote
    sed -n '/^chrimg-autorun-begin/,/^chrimg-autorun-end/p' serial.kept | tr -d '\r' | grep -qxF "$autorun_line"
}

boots_showing_autorun() { # IMG FIRMWARE
    boot_until_http "$1" "$2" "$boot_timeout" && cp "$serial" serial.kept && shows_autorun
}
