#!/usr/bin/env bash
# chrimg resize, judged by e2fsck, sgdisk, sfdisk, debugfs and qemu-img.
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
needs_tool e2fsck dumpe2fs debugfs sgdisk sfdisk qemu-img resize2fs jq zip

# sgdisk says it in its output, not in its exit status.
gpt_is_sound() { # RAW
    local output
    output=$(sgdisk -v "$1")
    grep -q '^No problems found' <<<"$output" && ! grep -qE '^(Problem|Caution)' <<<"$output" && return 0
    echo "$output"
    return 1
}
sfdisk_verifies() {
    local output
    output=$(sfdisk --verify "$1" 2>&1) && grep -q 'No errors detected' <<<"$output" && return 0
    echo "$output"
    return 1
}

# The root partition of RAW, by the GPT, as file OUT.
root_of() {
    local first last
    first=$(little_endian "$1" $((1024 + 128 + 32)) 8)
    last=$(little_endian "$1" $((1024 + 128 + 40)) 8)
    dd if="$1" of="$2" bs=1M iflag=skip_bytes,count_bytes conv=sparse status=none \
        skip=$((first * 512)) count=$(((last - first + 1) * 512))
    truncate -s $(((last - first + 1) * 512)) "$2"
}

# The same files, with owners and times: by debugfs on both.
same_tree() { # ROOT ROOT
    rm -rf tree.1 tree.2
    ext_dump "$1" tree.1 && ext_dump "$2" tree.2 || return 1
    [ -n "$(find tree.1 -type f -size +1M -print -quit)" ] || return 1
    diff -r tree.1 tree.2 || return 1
    diff <(debugfs -R 'ls -l /rw' "$1" 2>/dev/null) <(debugfs -R 'ls -l /rw' "$2" 2>/dev/null)
}

fs_fills() { # ROOT
    local blocks size
    blocks=$(dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Block count: *//p')
    size=$(dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Block size: *//p')
    [ $(($(stat -c %s "$1") - blocks * size)) -lt "$size" ] && return 0
    echo "$blocks blocks of $size in $(stat -c %s "$1") bytes"
    return 1
}

# All but the root's number of sectors (bytes 474-477 of entry 2) is as it was in sector 0.
mbr_is_kept() { # OLD NEW
    cmp -n 474 "$1" "$2" && cmp -i 478 -n 34 "$1" "$2"
}

# judge TITLE OLD NEW: NEW is what resize made of OLD, both raw.
judge() {
    root_of "$2" root.old
    root_of "$3" root.new
    check "$1: sgdisk has nothing to say" gpt_is_sound "$3"
    check "$1: sfdisk neither" sfdisk_verifies "$3"
    check "$1: MBR and GPT agree on the root" test "$(partition_sectors "$3" 2)" = \
        $(($(stat -c %s root.new) / 512))
    check "$1: e2fsck finds nothing" e2fsck -fn root.new
    check "$1: the file system fills its partition" fs_fills root.new
    check "$1: the same files" same_tree root.old root.new
    check "$1: of sector 0 only the root's length changed" mbr_is_kept "$2" "$3"
    check "$1: the boot partition is as it was" cmp -i $((34 * 512)) -n $((65536 * 512)) "$2" "$3"
}

# ---- raw ----

for layout in 7.19 7.20 7.17; do
    "$MKCHR" $layout old.img
    cp --sparse=always old.img new.img
    check_exit "$layout: 128 MiB to 600 MiB" 0 'disk 128 MiB -> 600 MiB' "$CHRIMG" resize new.img 600M
    check_equal "$layout: its size" "$(stat -c %s new.img)" $((600 << 20))
    # 7.17 is written with ends one too high: its GPT is mended, and cannot be judged before.
    if [ $layout != 7.17 ]; then
        judge "$layout" old.img new.img
    else
        check "7.17: the ends are mended" gpt_is_sound new.img
        root_of new.img root.new
        check "7.17: e2fsck finds nothing" e2fsck -fn root.new
    fi
    cp --sparse=always new.img again.img
    check_exit "$layout: once more changes nothing" 0 'nothing to change' "$CHRIMG" resize again.img 600M
    check "$layout: not a byte" cmp new.img again.img
done

"$MKCHR" 7.19 old.img
cp --sparse=always old.img one.img
cp --sparse=always old.img two.img
"$CHRIMG" resize one.img 1G >/dev/null
sleep 1.1 # a clock in the result would differ now
"$CHRIMG" resize two.img +896M >/dev/null
check "same input, same size: same bytes" cmp one.img two.img
judge "1 GiB" old.img one.img
check "what changed is little" test $(($(allocated_kib one.img) - $(allocated_kib old.img))) -lt 1500
check_exit "and can grow again" 0 '1 GiB -> 5 GiB' "$CHRIMG" resize one.img 5G
judge "5 GiB" old.img one.img

cp --sparse=always old.img dry.img
check_exit "a dry run says what would be" 0 'would change' "$CHRIMG" resize -n dry.img 1G
check "and changes nothing" cmp old.img dry.img
"$CHRIMG" resize -n --json dry.img 1G >report.json
check_equal "as JSON" "$(jq -r '"\(.changed) \(.old_size) \(.new_size) \(.file_system.grown)"' report.json)" \
    "true 134217728 1073741824 true"
"$CHRIMG" resize dry.img +0 >/dev/null
judge "what is unused of the disk is taken by +0" old.img dry.img

cp --sparse=always old.img tables.img
check_exit "--tables-only leaves the file system" 0 'RouterOS makes its file system larger' \
    "$CHRIMG" resize --tables-only tables.img 1G
root_of old.img root.old
root_of tables.img root.new
check "byte for byte" cmp -n "$(stat -c %s root.old)" root.old root.new
check "and the tables are sound" gpt_is_sound tables.img

# e2fsprogs is looked for in sbin, too: both are hidden in a namespace of their own.
if unshare -rm true 2>/dev/null; then
    cp --sparse=always old.img without.img
    check_exit "without resize2fs disk and tables grow, and it is said" 0 \
        'e2fsck is not installed .*RouterOS makes its file system larger' unshare -rm sh -c \
        "mount -t tmpfs none /usr/sbin && { [ -L /sbin ] || mount -t tmpfs none /sbin; } &&
            '$CHRIMG' resize without.img 1G | tr '\\n' ' '"
    check "just as with --tables-only" cmp without.img tables.img

    cp --sparse=always old.img without.img
    program=$(readlink -f "$(command -v resize2fs)")
    check_exit "a resize2fs that cannot be run is an error" 1 'resize2fs' \
        unshare -rm sh -c "mount --bind /dev/null $program && exec '$CHRIMG' resize without.img 1G"
    check "with the image as it was" cmp old.img without.img
else
    skip "without resize2fs" "no namespaces here"
fi

# ---- the boot loader's view ----

"$CHRIMG" fatten old.img -o fat.img >/dev/null
cp --sparse=always fat.img fat-new.img
"$CHRIMG" resize fat-new.img 1G >/dev/null
check_equal "an image that boots with both still does" \
    "$("$CHRIMG" info --json fat-new.img | jq -c '[.uefi.yes, .bios.yes]')" '[true,true]'
check "its 0xEE entry is as it was" cmp -i 478 -n 34 fat.img fat-new.img
judge "fattened" fat.img fat-new.img

"$MKCHR" 7.19 mbr.img --no-gpt
cp --sparse=always mbr.img mbr-new.img
"$CHRIMG" resize mbr-new.img 1G >/dev/null
check "without a GPT none is made" eval '! sgdisk -v mbr-new.img | grep -q "GPT: present"'
check "the MBR's root is longer" test "$(partition_sectors mbr-new.img 2)" -gt \
    "$(partition_sectors mbr.img 2)"
check "and nothing else of it" mbr_is_kept mbr.img mbr-new.img

# ---- qcow2 ----

same_disk() { # QCOW2 RAW
    qemu-img compare -q -f qcow2 -F raw "$1" "$2"
}

"$MKCHR" 7.20 old.img
cp --sparse=always old.img wanted.img
"$CHRIMG" resize wanted.img 3G >/dev/null
for options in cluster_size=65536 cluster_size=512 cluster_size=2M compat=0.10 refcount_bits=1; do
    qemu-img convert -O qcow2 -o "$options" old.img new.qcow2
    check "qcow2 $options" "$CHRIMG" resize new.qcow2 3G
    check "qcow2 $options: qemu-img check finds nothing" qemu-img check -q new.qcow2
    check "qcow2 $options: it is what the raw one is" same_disk new.qcow2 wanted.img
done
qemu-img convert -c -O qcow2 old.img new.qcow2
check "a compressed one" "$CHRIMG" resize new.qcow2 3G
check "a compressed one: qemu-img check finds nothing" qemu-img check -q new.qcow2
check "a compressed one: it is what the raw one is" same_disk new.qcow2 wanted.img

# A backing file that is longer must not shine through behind the old end.
head -c 300M /dev/urandom >long.raw
qemu-img create -q -f qcow2 -b long.raw -F raw over.qcow2 128M
qemu-img convert -n -f raw -O qcow2 old.img over.qcow2
check "over a longer backing file" "$CHRIMG" resize over.qcow2 3G
check "it is what the raw one is, too" same_disk over.qcow2 wanted.img
check "and sound" qemu-img check -q over.qcow2
rm -f long.raw over.qcow2

qemu-img convert -O qcow2 old.img snap.qcow2
"$CHRIMG" snapshot -c before snap.qcow2 >/dev/null
"$CHRIMG" resize snap.qcow2 3G >/dev/null
check "with a snapshot: the disk is larger" same_disk snap.qcow2 wanted.img
check_equal "the snapshot has its own size" \
    "$("$CHRIMG" info --json snap.qcow2 | jq '.snapshots[0].disk_size')" $((128 << 20))
check "qemu-img check finds nothing" qemu-img check -q snap.qcow2
check "qemu-img goes back to it" qemu-img snapshot -a before snap.qcow2
check "and the disk is the old one" same_disk snap.qcow2 old.img
check "which can grow again" "$CHRIMG" resize snap.qcow2 3G
"$CHRIMG" snapshot -a before snap.qcow2 >/dev/null 2>&1
check "chrimg goes back, too" same_disk snap.qcow2 old.img
check "and all is sound" qemu-img check -q snap.qcow2
qemu-img convert -O qcow2 -o compat=0.10 old.img snap.qcow2
"$CHRIMG" snapshot -c before snap.qcow2 >/dev/null
cp snap.qcow2 snap.before
check_exit "version 2 with snapshots is refused, as QEMU does" 1 'version 2' \
    "$CHRIMG" resize snap.qcow2 3G
check_exit "by a dry run, too" 1 'version 2' "$CHRIMG" resize -n snap.qcow2 3G
check "and left as it was" cmp snap.before snap.qcow2

# ---- a journal, and damage ----

"$MKCHR" 7.19 dirty.img --journal-dirty
check_exit "a dirty journal is replayed" 0 'journal was replayed' "$CHRIMG" resize dirty.img 1G
root_of dirty.img root.new
check "and the file system is sound" e2fsck -fn root.new

"$MKCHR" 7.19 broken.img
# The bitmap of the first group says that all is free.
printf '\0\0\0\0\0\0\0\0' >zeros
bitmap=$(root_of broken.img root.old && dumpe2fs root.old 2>/dev/null | sed -n 's/.*Block bitmap at \([0-9]*\).*/\1/p' | head -n 1)
dd if=zeros of=broken.img bs=1 seek=$((65570 * 512 + bitmap * 4096)) conv=notrunc status=none
cp --sparse=always broken.img broken.before
check_exit "a damaged file system" 3 'partition 2: e2fsck' "$CHRIMG" resize broken.img 1G
check "is left as it is" cmp broken.before broken.img
check_exit "its tables can grow" 0 'changed' "$CHRIMG" resize --tables-only broken.img 1G

# ---- refusals, with the image as it was ----

"$MKCHR" 7.19 old.img
refused() { # TITLE STATUS PATTERN ARGUMENT...
    local title=$1 status=$2 pattern=$3
    shift 3
    check_exit "refused: $title" "$status" "$pattern" "$CHRIMG" resize "$@"
}
cp --sparse=always old.img kept.img
refused "a smaller disk" 1 'not made smaller' kept.img 100M
refused "no whole sectors" 2 'no whole sectors' kept.img 200000001
refused "no size" 2 'is no size' kept.img large
refused "two sizes" 2 'wants an image and a size' kept.img 1G 2G
refused "more than the MBR can say" 1 'ends at 2 TiB' kept.img 3T
refused "a size beyond all, added" 2 '^chrimg: kept.img: \+18446744073709551615 bytes are too many' \
    kept.img +18446744073709551615
refused "a size beyond all" 2 'too many|is no size' kept.img 99999999999G
check "and all is as it was" cmp old.img kept.img
zip -q kept.zip kept.img
refused "a zip" 1 'inside a zip' kept.zip 1G
qemu-img convert -O qcow2 old.img kept.qcow2
"$CHRIMG" snapshot -c tag kept.qcow2 >/dev/null
refused "a snapshot" 1 'snapshot can only be read' kept.qcow2@tag 1G
head -c 64M old.img >short.img
refused "a disk that is cut short" 3 'not within the disk' short.img 1G
check_equal "which stays short" "$(stat -c %s short.img)" $((64 << 20))
ln kept.img kept.link
refused "a name of several" 1 'hard links' kept.img 1G
check "and is as it was" cmp old.img kept.img

done_testing
