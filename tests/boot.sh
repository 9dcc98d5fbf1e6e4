#!/bin/bash
# Boots stand-ins in QEMU: which image boots on which firmware, before and after `chrimg fatten`.
# shellcheck disable=SC2317  # functions are called through check and check_boot
. "$(dirname "$0")/boot/lib.sh"

boot_partition_offset=$((34 * 512))

# ---- images ----

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
