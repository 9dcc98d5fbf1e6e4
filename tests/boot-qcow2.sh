#!/bin/bash
# Boots fattened stand-ins as qcow2, plain and compressed, on both firmwares; what the
# guest has written is undone by a snapshot.
# shellcheck disable=SC2317  # functions are called through check and check_boot
. "$(dirname "$0")/boot/lib.sh"
needs_tool qemu-system-x86_64 qemu-img debugfs jq curl
if [[ ! (-e $ovmf_code && -e $ovmf_vars) ]]; then skip_all "OVMF is not installed"; fi

# The guest writes to the image itself.
disk_options=format=qcow2

# The file in which the guest counts its boots, as QEMU reads it from IMAGE.
boots_counted() {
    rm -f seen.raw
    qemu-img convert -f qcow2 -O raw "$1" seen.raw &&
        debugfs -R 'cat /rw/boots' "seen.raw?offset=$((65570 * 512))" 2>/dev/null
}

make_images() {
    : >count-boots
    make_stock --root-file count-boots:rw/count-boots || return
    "$CHRIMG" fatten --require-bios stock.img -o plain.qcow2 &&
        "$CHRIMG" fatten --require-bios -c stock.img -o small.qcow2 &&
        "$CHRIMG" convert plain.qcow2 before.raw
}

sound() { qemu-img check -f qcow2 "$1"; }

# The disk is what it was before anybody booted it.
as_before() { # IMAGE
    rm -f seen.raw
    qemu-img convert -f qcow2 -O raw "$1" seen.raw && cmp seen.raw before.raw
}

boots() { # IMAGE FIRMWARE
    boots_showing_autorun "$1" "$2" && [ "$(boots_counted "$1")" = "booted" ]
}

# A boot counts 1 where an earlier one was undone, else 2.
undone() { # IMAGE
    "$CHRIMG" snapshot -a clean "$1" && as_before "$1" && sound "$1" && [ -z "$(boots_counted "$1")" ]
}

check 'images can be made' make_images
check 'a snapshot of the image that was never booted' "$CHRIMG" snapshot -c clean plain.qcow2
check_boot 'plain qcow2 boots on OVMF' uefi boots plain.qcow2 uefi
check 'the guest has left it sound' sound plain.qcow2
check_equal 'snapshot --diff shows what the guest has written' \
    "$("$CHRIMG" snapshot --diff clean plain.qcow2)" 'added    root:/rw/boots  7 bytes'
check 'snapshot -a undoes it' undone plain.qcow2
check_equal 'and keeps it' "$(qemu-img info --output json plain.qcow2 | jq -r '.snapshots[].name' |
    sed 's/-[0-9-]*$//')" $'clean\nbefore-apply'
check_boot 'plain qcow2 boots on SeaBIOS, for the first time again' bios boots plain.qcow2 bios
check 'the state that was kept comes back' "$CHRIMG" snapshot -a 2 --no-keep plain.qcow2
check_equal 'it is that after the first boot' "$(boots_counted plain.qcow2)" booted

check 'the compressed qcow2 holds the same disk' as_before small.qcow2
check 'a snapshot of it' "$CHRIMG" snapshot -c clean small.qcow2
check_boot 'compressed qcow2 boots on SeaBIOS' bios boots small.qcow2 bios
check 'snapshot -a undoes what the guest has written' undone small.qcow2
check_boot 'compressed qcow2 boots on OVMF, for the first time again' uefi boots small.qcow2 uefi
check 'it is sound after all' sound small.qcow2
done_testing
