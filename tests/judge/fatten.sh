#!/usr/bin/env bash
# chrimg fatten, judged by other people's tools on every stand-in image.
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
needs_tool fsck.fat mcopy mshowfat debugfs e2fsck sgdisk sfdisk blkid jq zip

# ---- what is looked at, each for an image before and after ----
#
# Before: old.img, old.p1, old.p2.  After: new.img, new.p1, new.p2.

# Files of the boot partition as they were, in old.files.
dump_old_files() {
    case $kind in
    ext) ext_dump old.p1 old.files ;;
    fat) fat_dump old.p1 old.files ;;
    raw)
        # No file system: the kernel lies at 512 KiB and is as long as mkchr made it.
        mkdir -p old.files/EFI/BOOT
        dd if=old.p1 of=old.files/EFI/BOOT/BOOTX64.EFI bs=4096 skip=128 \
            count=$((KERNEL_SIZE / 512 * 512 / 4096 + 1)) status=none
        truncate -s "$KERNEL_SIZE" old.files/EFI/BOOT/BOOTX64.EFI
        ;;
    esac
}

names_as_mtools_has_them() {
    local path
    while IFS= read -r path; do
        if [ "$(mtools_name "$path")" != "$path" ]; then
            cp "$1/$path" "$1/$(mtools_name "$path")" && rm "$1/$path"
            echo "$path" >>renamed.list
        fi
    done < <(cd "$1" && find . -type f -printf '%P\n')
}

same_files() {
    : >renamed.list
    rm -rf old.files new.files
    dump_old_files || return 1
    fat_dump new.p1 new.files || return 1
    [ -n "$(find old.files -type f -print -quit)" ] || return 1
    names_as_mtools_has_them old.files
    diff -r old.files new.files
}

no_table_problems() {
    local output
    output=$(sgdisk -v new.img)
    grep -q '^No problems found' <<<"$output" && ! grep -q '^Problem' <<<"$output" && return 0
    echo "$output"
    return 1
}

sfdisk_verifies() {
    local output
    output=$(sfdisk --verify new.img 2>&1) && grep -q 'No errors detected' <<<"$output" && return 0
    echo "$output"
    return 1
}

# The type and the name of the boot partition in the GPT.
boot_entry() {
    sgdisk -i 1 new.img | sed -n 's/^Partition GUID code: \([^ ]*\) .*/\1/p'
}

blkid_of() { # IMAGE PARTITION FIELD
    blkid -p -c /dev/null --offset $(($(partition_start "$1" "$2") * 512)) \
        --size $(($(partition_sectors "$1" "$2") * 512)) -o value -s "$3" "$1"
}

mbr_is_kept() {
    # Boot code and disk id, the entries 1 and 2, the signature.
    cmp -n 446 old.img new.img && cmp -i 446 -n 32 old.img new.img && cmp -i 510 -n 2 old.img new.img
}

# What the file is called that mtools calls PATH.
original_name() {
    local path
    while IFS= read -r path; do
        if [ "$(mtools_name "$path")" = "$1" ]; then
            echo "$path"
            return
        fi
    done <renamed.list
    echo "$1"
}

# Sectors of each file before and after: moved.list has those that were somewhere and
# are somewhere else now, fresh.list the present ones of all that did not stay.
compare_sectors() {
    local path
    : >moved.list
    : >fresh.list
    while IFS= read -r path; do
        if [ "$kind" = ext ]; then
            ext_sectors old.p1 "/$(original_name "$path")" >before.sectors
        else
            seq 1024 $((1024 + (KERNEL_SIZE + 511) / 512 - 1)) >before.sectors
        fi
        fat_sectors new.p1 "$path" "$(stat -c %s "old.files/$path")" >after.sectors
        if [ "$(wc -l <before.sectors)" != "$(wc -l <after.sectors)" ]; then
            echo "$path has $(wc -l <before.sectors) sectors before, $(wc -l <after.sectors) after"
            return 1
        fi
        paste before.sectors after.sectors |
            awk '$1 != $2 { if ($1 != "hole") print $1 >>"moved.list"; print $2 >>"fresh.list" }'
    done < <(cd old.files && find . -type f -printf '%P\n' | LC_ALL=C sort)
}

# Every block that could stay has stayed: only what lies under the FAT's own sectors moves.
only_blocks_in_the_way_moved() {
    awk -v start="$(fat_data_start new.p1)" \
        '$1 >= start { print "moved without need: sector " $1; bad = 1 } END { exit bad }' moved.list
}

# The sectors that an in-place run may touch, absolute, one a line.
allowed_sectors() {
    local start last backup path
    start=$(partition_start old.img 1)
    last=$(($(stat -c %s old.img) / 512 - 1))
    seq 1 33
    seq $((last - 32)) "$last"
    # Where the old primary says that the backup is.
    if [ "$(dd if=old.img bs=1 skip=512 count=8 status=none | tr -d '\0')" = "EFI PART" ]; then
        backup=$(little_endian old.img $((512 + 32)) 8)
        seq $((backup - 32)) "$backup"
    fi
    if [ "$kind" != fat ]; then
        seq "$start" $((start + $(fat_data_start new.p1) - 1))
        while IFS= read -r path; do
            fat_sectors new.p1 "$path"
        done < <(cd new.files && find . -mindepth 1 -type d -printf '%P\n') |
            awk -v start="$start" '{ print start + $1 }'
        # The rest of a cluster whose beginning is fresh is fresh too.
        awk -v start="$start" -v data="$(fat_data_start new.p1)" \
            -v per="$(fat_cluster_sectors new.p1)" '
            { first = data + int(($1 - data) / per) * per
              for (i = 0; i < per; i++) print start + first + i }' fresh.list
    fi
}

within_budget() {
    allowed_sectors | sort -un >allowed.list
    cmp -l old.img in-place.img | awk '
        FILENAME == "allowed.list" { allowed[$1] = 1; next }
        {
            sector = int(($1 - 1) / 512)
            # Of the MBR only the entries 3 and 4.
            if (sector == 0 ? $1 - 1 < 478 || $1 - 1 >= 510 : !(sector in allowed))
                if (!(sector in seen)) { seen[sector] = 1; print "changed: sector " sector; bad = 1 }
        }
        END { exit bad }' allowed.list -
}

stays_sparse() {
    local old new
    old=$(allocated_kib old.img)
    new=$(allocated_kib new.img)
    # Tables, FATs and folders are under 1 MiB.
    [ "$new" -le $((old + 1024)) ] || { echo "$old KiB before, $new KiB after"; return 1; }
}

fatten() {
    "$CHRIMG" fatten "$@"
}

# ---- one image ----

# judge NAME KIND TABLES MKCHR-ARGUMENT...
#   KIND    what the boot partition is: ext, fat or raw
#   TABLES  gpt: afterwards there is a sound GPT;  mbr: there is no room for one
judge() {
    name=$1 kind=$2
    local tables=$3 label
    shift 3
    rm -rf ./*
    if ! "$MKCHR" "$1" old.img "${@:2}" >mkchr.log 2>&1; then
        not_ok "$name: mkchr" "$(cat mkchr.log)"
        return
    fi
    partition old.img 1 old.p1
    partition old.img 2 old.p2
    KERNEL_SIZE=0
    if [ "$kind" = raw ]; then
        # The same layout with a file system has the same kernel.
        "$MKCHR" 7.19 sibling.img
        partition sibling.img 1 sibling.p1
        KERNEL_SIZE=$(debugfs -R 'stat /EFI/BOOT/BOOTX64.EFI' sibling.p1 2>/dev/null |
            sed -n 's/.*Size: *\([0-9]*\).*/\1/p' | head -n 1)
    fi
    cp --sparse=always old.img kept.img

    check "$name: fatten" fatten old.img -o new.img
    if [ ! -e new.img ]; then return; fi
    check "$name: the input is as it was" cmp old.img kept.img
    check_equal "$name: the size is as it was" "$(stat -c %s new.img)" "$(stat -c %s old.img)"
    partition new.img 1 new.p1
    partition new.img 2 new.p2

    check "$name: fsck.fat finds nothing" fsck.fat -n -v new.p1
    check "$name: every file is there, byte for byte" same_files
    check_equal "$name: blkid takes it for FAT" "$(blkid_of new.img 1 TYPE)" vfat
    check "$name: blkid knows a UUID" test -n "$(blkid_of new.img 1 UUID)"
    label=$(blkid_of new.img 1 LABEL)
    case $kind in
    ext) check_equal "$name: the label, as far as FAT has room" "${label^^}" "ROUTEROS BO" ;;
    raw) check "$name: there is a label" test -n "$label" ;;
    fat) check "$name: the partition is as it was" cmp old.p1 new.p1 ;;
    esac
    if [ "$tables" = gpt ]; then
        check "$name: sgdisk finds no problem" no_table_problems
        check "$name: sfdisk finds no error" sfdisk_verifies
        check_equal "$name: the boot partition is an EFI system partition" "$(boot_entry)" \
            C12A7328-F81F-11D2-BA4B-00A0C93EC93B
    fi
    check "$name: boot code and MBR entries 1 and 2 are as they were" mbr_is_kept
    check "$name: e2fsck finds nothing in the root" e2fsck -fn new.p2
    check "$name: the root is as it was" cmp old.p2 new.p2
    if [ "$kind" != fat ]; then
        check "$name: sectors can be compared" compare_sectors
        check "$name: only blocks in the way moved" only_blocks_in_the_way_moved
    else
        : >fresh.list
    fi
    check "$name: sparse stays sparse" stays_sparse

    check "$name: fatten again" fatten old.img -o twin.img
    check "$name: the same input gives the same bytes" cmp new.img twin.img
    check "$name: fatten the fattened" fatten new.img -o again.img
    check "$name: that changes nothing" cmp new.img again.img

    cp --sparse=always old.img in-place.img
    check "$name: fatten in place" fatten --in-place in-place.img
    check "$name: that gives the same bytes" cmp new.img in-place.img
    check "$name: only the declared bytes change" within_budget
    check_equal "$name: nothing is left beside it" \
        "$(find . -maxdepth 1 -name '.?*')" ""

    zip -1 -q old.img.zip old.img
    check "$name: fatten from a zip" fatten old.img.zip -o unzipped.img
    check "$name: that gives the same bytes" cmp new.img unzipped.img

    check "$name: --json is JSON" eval 'fatten old.img -o j.img --json | jq -e "type == \"object\""'
    check "$name: -n is done" fatten -n old.img -o never.img
    check "$name: and writes nothing" test ! -e never.img
    check "$name: nor changes the input" cmp old.img kept.img
}

judge "7.17" ext gpt 7.17
judge "7.19" ext gpt 7.19
check_equal "7.19: no block moved at all" "$(wc -l <moved.list)" 0
judge "7.20" ext gpt 7.20
check_equal "7.20: no block moved at all" "$(wc -l <moved.list)" 0
judge "FAT already" fat gpt fat
judge "arm64" fat gpt arm64
judge "no file system" raw gpt raw
judge "MBR only, two partitions" ext mbr mbr2
judge "blocks of 1024 bytes" ext gpt 7.19 --boot-block-size 1024
judge "blocks of 2048 bytes" ext gpt 7.19 --boot-block-size 2048
judge "fragmented kernel" ext gpt 7.19 --fragment
check_equal "fragmented kernel: no block moved at all" "$(wc -l <moved.list)" 0
judge "a file where a larger FAT would be" ext gpt 7.19 --in-the-way
check_equal "a file where a larger FAT would be: the FAT makes itself small" \
    "$(wc -l <moved.list)" 0
judge "a file in the way" ext gpt 7.19 --in-the-way --boot-block-size 2048
check "a file in the way: it had to move" test "$(wc -l <moved.list)" -gt 0
judge "kernel in the way" ext gpt 7.19 --in-the-way=kernel --boot-block-size 2048
check "kernel in the way: it had to move" test "$(wc -l <moved.list)" -gt 0
judge "files with holes" ext gpt 7.20 --sparse
judge "many files" ext gpt 7.20 --many
# The penguin, U+1F427, is two units of UTF-16 in a long name; mtools cannot show it.
# "emoji-", 🐧, "-" is, in one entry of a long name: e m o j i, attributes, - 🐧 - ...
check_equal "many files: characters outside the first plane are there as UTF-16" \
    "$(LC_ALL=C grep -oaP '(?s)e\x00m\x00o\x00j\x00i\x00...-\x00\x3d\xd8\x27\xdc-\x00' new.p1 | wc -c)" \
    $((5 * 22))
judge "many files, small blocks, fragmented" ext gpt 7.20 --many --fragment --sparse --boot-block-size 1024
judge "ext4 boot partition" ext gpt 7.20 --boot-ext4
judge "no hole in the boot sector" ext gpt 7.19 --no-hole
judge "primary GPT damaged" ext gpt 7.19 --bad-gpt primary
judge "backup GPT damaged" ext gpt 7.19 --bad-gpt backup
judge "both GPTs damaged" ext gpt 7.19 --bad-gpt both
judge "no GPT" ext gpt 7.19 --no-gpt
judge "0xEE entry there already" ext gpt 7.19 --hybrid
judge "disk grown" ext gpt 7.19 --grow +300M
judge "root's journal dirty" ext gpt 7.19 --journal-dirty

# ---- what fatten refuses ----

rm -rf ./*
"$MKCHR" 7.19 good.img
"$MKCHR" v6 v6.img
good=$(checksum good.img)

# refused NAME STATUS PATTERN ARGUMENT...: and neither good.img nor the folder changes.
refused() {
    local list
    list=$(ls -A)
    check_exit "refused: $1" "$2" "$3" "$CHRIMG" fatten "${@:4}"
    check_equal "refused: $1: nothing changed" "$(ls -A) $(checksum good.img)" "$list $good"
}

refused "an image without an EFI loader" 1 'EFI' v6.img -o out.img
refused "an image without an EFI loader, in place" 1 'EFI' --in-place v6.img
refused "output = input" 2 'in-place' good.img -o good.img
refused "output = input, by another name" 2 'in-place' good.img -o ./good.img
ln good.img link.img
refused "output = input, by a hard link" 2 'in-place' --force good.img -o link.img
echo precious >there.img
refused "an output that is there" 1 'force' good.img -o there.img
check_equal "an output that is there: it is as it was" "$(cat there.img)" precious
refused "-o and --in-place together" 2 'in-place' --in-place good.img -o out.img
refused "an image that is not there" 1 'none\.img' none.img -o out.img
refused "a folder for an image" 2 'folder' . -o out.img
refused "no image at all" 2 'chrimg' -o out.img
refused "an unknown option" 2 'no-such-option' --no-such-option good.img -o out.img
refused "an output folder that is not there" 1 'nowhere' good.img -o nowhere/out.img
refused "an unknown layout" 2 'layout' --layout wide good.img -o out.img
: >empty.img
refused "an empty file" 3 'empty\.img' empty.img -o out.img
truncate -s 64M zeros.img
refused "a file of zeros" 3 'partition table' zeros.img -o out.img
head -c 20M good.img >short.img
refused "an image cut short" 3 'outside|not within' short.img -o out.img
"$MKCHR" 7.19 way.img --in-the-way=kernel --boot-block-size 2048
refused "BIOS boot asked for, and the kernel would move" 1 'BIOS' --require-bios way.img -o out.img
"$MKCHR" 7.19 nohole.img --no-hole
refused "BIOS boot asked for, and the boot code leaves no room" 1 'BIOS' --require-bios nohole.img \
    -o out.img

check "--force replaces an output" "$CHRIMG" fatten --force good.img -o there.img
check "and that is the fattened image" cmp there.img <(
    "$CHRIMG" fatten good.img -o reference.img >/dev/null && cat reference.img)
check "the default output is NAME-efi.img" "$CHRIMG" fatten good.img
check "and that is the same" cmp good-efi.img reference.img
check "--require-bios is fine where BIOS boot survives" \
    "$CHRIMG" fatten --require-bios good.img -o bios.img
check "--mbr keep leaves the whole MBR" "$CHRIMG" fatten --mbr keep good.img -o kept.img
check "and does" cmp -n 512 good.img kept.img
check "--layout compact" "$CHRIMG" fatten --layout compact good.img -o compact.img
partition compact.img 1 compact.p1
check "compact: fsck.fat finds nothing" fsck.fat -n compact.p1
partition good.img 1 good.p1
ext_dump good.p1 good.files
fat_dump compact.p1 compact.files
check "compact: every file is there" diff -r good.files compact.files
check_equal "compact: the kernel is one run" \
    "$(mshowfat -i compact.p1 ::/EFI/BOOT/BOOTX64.EFI | grep -o '<' | wc -l)" 1

done_testing
