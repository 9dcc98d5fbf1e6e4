#!/usr/bin/env bash
# What `chrimg boot` shows instead of running it, given to the tools that it is for: each shell line,
# script and -readconfig starts this host's QEMU; shellcheck, systemd-analyze and libvirt's schema judge.
# shellcheck disable=SC2016,SC2317  # functions are called through check; dollars are for sh
. "$(dirname "$0")/lib.sh"
needs_tool qemu-system-x86_64 qemu-img shellcheck curl jq

samples=$WORK/samples
qemu_pid=

# The shell that was started may have QEMU as its child, which has a pid file.
stop_qemu() {
    [ "$qemu_pid" ] || return 0
    cat "$samples"/run/*/pid 2>/dev/null | xargs -r kill -9 2>/dev/null
    kill "$qemu_pid" 2>/dev/null
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
}
trap 'status=$?; stop_qemu; (exit $status); tap_end' EXIT

# Guests with nothing on their disks: that QEMU takes the arguments is all that is asked.
make_samples() {
    mkdir "$samples" && truncate -s 1M "$samples/raw.img" &&
        qemu-img create -q -f qcow2 "$samples/disk.qcow2" 1M &&
        cp "$samples/disk.qcow2" "$samples/"$'a, "b" \'c\' $d %h\ne.qcow2' &&
        cp "$samples/disk.qcow2" "$samples/a, \"b\" 'c' & <d>.qcow2" &&
        mkdir "$WORK/a \$d \${e} %h" && ln -s "$CHRIMG" "$WORK/a \$d \${e} %h/chrimg" &&
        "$BUILD/tests/unit/vm_emit" write "$samples" "$WORK/a \$d \${e} %h/chrimg"
}

can_run() { # NAME
    case $1 in
    arm*) command -v qemu-system-aarch64 >/dev/null && [ -e /usr/share/AAVMF/AAVMF_CODE.fd ] &&
        [ -e /usr/share/qemu-efi-aarch64/QEMU_EFI.fd ] ;;
    uefi | throwaway | ideuefi | oddxml) [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] ;;
    esac
}

# Asks QEMU for its state and to end, over QMP; fails as long as nobody answers.
quit_by_qmp() { # NAME
    printf '{"execute":"qmp_capabilities"}\n{"execute":"query-status"}\n{"execute":"quit"}\n' |
        timeout 30 curl -s --unix-socket "$samples/run/$1/qmp.sock" telnet://qemu >answers 2>&1
    grep -q '"running": true' answers
}

# QEMU takes the arguments, the guest runs, nothing is complained about, and it ends with 0.
starts() { # NAME COMMAND...
    local name=$1 deadline=$((SECONDS + 60)) status
    shift
    "$@" </dev/null >output 2>&1 &
    qemu_pid=$!
    until quit_by_qmp "$name"; do
        if ! kill -0 "$qemu_pid" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
            cat output answers
            stop_qemu
            return 1
        fi
        sleep 0.05
    done
    wait "$qemu_pid"
    status=$?
    qemu_pid=
    cat output
    [ "$status" -eq 0 ] && [ ! -s output ]
}

# Sockets, pid and log are nobody else's, and what QEMU made of itself is gone.
is_private() { # NAME
    [ "$(stat -c %a "$samples/run/$1" "$samples/the state/$1" | sort -u)" = 700 ] && [ ! -e "$samples/run/$1/pid" ]
}

vars_fit() { # NAME BYTES
    local vars=("$samples/the state/$1/vars-"*"-$2k.qcow2")
    [ "$(qemu-img info --output=json "${vars[0]}" | jq '.["virtual-size"]')" = $(($2 * 1024)) ]
}

check "texts are written" make_samples
for file in "$samples"/*.print; do
    name=$(basename "$file" .print)
    if ! can_run "$name"; then
        skip "$name: QEMU starts" 'firmware or QEMU of that architecture is missing'
        continue
    fi
    check "$name: the printed line starts QEMU" starts "$name" sh "$file"
    check "$name: what it leaves is private" is_private "$name"
    # Files are there by now, and are used again.
    case $name in
    odd | uefi | arm | armsmall | size)
        check "$name: -readconfig starts QEMU" starts "$name" sh "$samples/$name.readconfig"
        check "$name: the script starts QEMU" starts "$name" env CHRIMG_ACCEL=tcg sh "$samples/$name.script"
        ;;
    esac
done
for name in uefi:528 arm:65536 armsmall:65536; do
    if can_run "${name%:*}"; then
        check "${name%:*}: variables are a qcow2 of the right size" vars_fit "${name%:*}" "${name#*:}"
    fi
done
check_equal "throwaway: no file is made" "$(ls "$samples/the state/throwaway")" serial.log

# ---- an overlay of an image that changed ----

overlay=$(ls "$samples/the state/raw/"disk-*.qcow2)
other_image='the image is not the one that its overlay was made over'

# Nothing is started, neither by the line nor by the script.
is_refused() { # WHAT
    check_exit "$1 is not started" 1 "$other_image" sh "$samples/raw.print"
    check_exit "$1 is not started by the script" 1 "$other_image" env CHRIMG_ACCEL=tcg sh "$samples/raw.script"
}

check "size and time of the image are remembered" test -s "$overlay.base"
cp -p "$samples/raw.img" raw.kept
touch "$samples/raw.img"
is_refused "an image that changed after its overlay was made"
# As unzip, cp -p and tar leave it.
touch -d '2 years ago' "$samples/raw.img"
is_refused "an image with an older time"
truncate -s 2M "$samples/raw.img"
touch -r raw.kept "$samples/raw.img"
is_refused "an image of another size and the same time"
cp -p raw.kept "$samples/raw.img"
check "the old image with its time is started again" starts raw sh "$samples/raw.print"
check "and by the script" starts raw env CHRIMG_ACCEL=tcg sh "$samples/raw.script"
# Overlays of older versions have nothing beside them.
rm "$overlay.base"
touch -d '1 hour ago' "$overlay"
touch "$samples/raw.img"
is_refused "an image that is newer than an overlay of which nothing is remembered"
check_exit "the script knows three accelerators" 2 'kvm, hvf or tcg, not xen' \
    env CHRIMG_ACCEL=xen sh "$samples/raw.script"

# ---- the accelerator, by what chrimg has found out ----

# The accelerator that a script chooses, with LINE as the finding.
chosen() { # LINE
    mkdir -p cache/chrimg && echo "$1" >cache/chrimg/kvm
    { sed '/^case \$accel in/,$d' "$samples/kvm.script"; echo 'echo "$accel"'; } >choose
    XDG_CACHE_HOME=$WORK/cache sh choose
}

if { : <>/dev/kvm; } 2>/dev/null && [ "$(uname -m)" = x86_64 ]; then
    boot_id=$(cat /proc/sys/kernel/random/boot_id)
    check_equal "KVM that runs guests is chosen" "$(chosen "$boot_id runs")" kvm
    check_equal "KVM that does not is not" "$(chosen "$boot_id broken")" tcg
    check_equal "what was found before the host's boot does not count" "$(chosen "another broken")" kvm
else
    skip "a script asks what is known of KVM" '/dev/kvm does not open'
fi

# ---- other judges ----

for file in "$samples"/*.script; do
    check "$(basename "$file"): sh -n" sh -n "$file"
    # SC2016: a dollar in a path is one.
    check "$(basename "$file"): shellcheck" shellcheck -s sh -e SC2016 "$file"
done

# Units are verified beside a copy of a system's own: missing ones of the host are no matter.
verifies() { # FILE
    local unit messages status
    unit=$WORK/chrimg-$(basename "$1")
    cp "$1" "$unit"
    messages=$(systemd-analyze verify --man=no --recursive-errors=no "$unit" 2>&1)
    status=$?
    echo "$messages"
    [ "$status" -eq 0 ] && [ -z "$messages" ]
}

for file in "$samples"/*.service; do
    if command -v systemd-analyze >/dev/null; then
        check "$(basename "$file"): systemd-analyze verify" verifies "$file"
    else
        skip "$(basename "$file"): systemd-analyze verify" 'systemd is not installed'
    fi
done
# The commands of a unit, with its folders below $WORK: what systemd would run. Its quotes are the shell's
# for names without dollars, percents and the like.
unit_command() { # SETTING
    sed -e ':join' -e '/\\$/N; s/ *\\\n */ /; t join' unit.service | sed -n "s/^$1=//p" |
        sed "s|/run/chrimg-|$WORK/run-|g; s|/var/lib/chrimg-|$WORK/lib-|g"
}

runs_and_stops() { # IMG OPTION...
    local environment pid
    "$CHRIMG" boot --name unit --systemd "$@" >unit.service || return
    environment=$(unit_command Environment)
    mkdir -m 700 run-unit lib-unit || return
    sh -c "env $environment $(unit_command ExecStart)" || return
    pid=$(cat "$(unit_command PIDFile)") && kill -0 "$pid" || return
    # Blank disks hear no power button, so without patience.
    sh -c "env $environment $(unit_command ExecStop) --now" || return
    # Where nobody collects orphans, it stays in the list of processes.
    ! kill -0 "$pid" 2>/dev/null || grep -q '^State:.Z' "/proc/$pid/status"
}

"$MKCHR" fat fat.img
check "a unit's commands start and stop an instance" runs_and_stops --uefi --accel tcg --smp 2,cores=2 \
    --net socket:lan --net user --forward none --forward "http=$((12010 + $$ % 1000 * 20)):80" fat.img

for file in "$samples"/*.xml; do
    if command -v virt-xml-validate >/dev/null; then
        check "$(basename "$file"): virt-xml-validate" virt-xml-validate "$file" domain
    else
        skip "$(basename "$file"): virt-xml-validate" 'libvirt-clients is not installed'
    fi
done

done_testing
