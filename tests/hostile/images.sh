#!/usr/bin/env bash
# Images that lie.  Each is a good stand-in with named fields changed, and must be
# refused, or handled with its defect named; never a crash, a hang, or much memory.
. "$(dirname "$0")/../lib.sh"
needs_tool debugfs jq iconv

PATCH=$BUILD/tests/hostile/patch
SECONDS_ALLOWED=20
KIB_ALLOWED=262144

# limited COMMAND...: within limits of time and address space.
limited() (
    if ! under_sanitizer "$CHRIMG"; then ulimit -v $KIB_ALLOWED; fi
    exec timeout "$SECONDS_ALLOWED" "$@"
)

# verdict NAME COMMAND WANTED-STATUS PATTERN: judge `status` and the file `output`.
verdict() {
    local reason=
    case $status in
    124) reason="it hangs" ;;
    86) reason="a sanitizer stopped it" ;;
    126 | 127 | 128 | 129 | 1[3-9]?) reason="it crashes (status $status)" ;;
    esac
    case "|$3|" in
    *"|$status|"*) ;;
    *) reason=${reason:-"exit status $status, wanted $3"} ;;
    esac
    if [ -n "$4" ] && ! grep -qE -- "$4" output; then
        reason=${reason:+$reason; }"nothing matches /$4/"
    fi
    # Text from the image must not drive the terminal.
    if LC_ALL=C grep -q $'[\001-\010\013-\037\177]' output; then
        reason=${reason:+$reason; }"control characters from the image are printed"
    fi
    if ! iconv -f UTF-8 -t UTF-8 output >/dev/null 2>&1; then
        reason=${reason:+$reason; }"what it prints is not UTF-8"
    fi
    if [ -z "$reason" ]; then
        ok "$1: $2"
    else
        not_ok "$1: $2" "$reason"
        diag "made by: ${recipe[*]}"
        diag "$(head -c 3000 output)"
    fi
}

# hostile NAME BASE INFO FATTEN PATTERN[@@FATTEN-PATTERN] CHANGE...
#
# Apply the CHANGEs (see patch.c) to a copy of BASE.img, then run `info`, which must
# exit with one of the statuses INFO (as 0|3), and `fatten -n` with FATTEN; output of
# both must match PATTERN, except that of a successful fatten.
hostile() {
    local name=$1 base=$2 info=$3 fatten=$4 pattern=$5
    shift 5
    recipe=("$base.img" "$@")
    cp --sparse=always "$base.img" case.img
    # patch fails when a change changes nothing: then the image proves nothing.
    if ! "$PATCH" case.img "$@" >patch.log 2>&1; then
        not_ok "$name: the image can be made" "$(cat patch.log)"
        return
    fi
    judge_image "$name" case.img "$info" "$fatten" "$pattern"
}

# broken_loader NAME BASE CHANGE...: the image is sound, but its loader cannot start on
# UEFI, so nothing may promise that it does.
broken_loader() {
    local name=$1 base=$2
    shift 2
    cp --sparse=always "$base.img" case.img
    if ! "$PATCH" case.img "$@" >patch.log 2>&1; then
        not_ok "$name: the image can be made" "$(cat patch.log)"
        return
    fi
    limited "$CHRIMG" info case.img >output 2>&1
    status=$?
    if [ $status -eq 0 ] && ! grep -q 'fatten mends' output; then
        ok "$name: info does not promise UEFI"
    else
        not_ok "$name: info does not promise UEFI" "status $status" "made by: $base.img $*" \
            "$(head -n 5 output)"
    fi
    limited "$CHRIMG" fatten -n case.img -o never.img >output 2>&1
    status=$?
    if [ $status -le 3 ] && ! grep -q 'UEFI *yes' output; then
        ok "$name: nor does fatten"
    else
        not_ok "$name: nor does fatten" "status $status" "made by: $base.img $*" "$(cat output)"
    fi
}

judge_image() {
    local name=$1 file=$2 info=$3 fatten=$4 pattern=$5
    limited "$CHRIMG" info "$file" >output 2>&1
    status=$?
    verdict "$name" info "$info" "${pattern%%@@*}"
    limited "$CHRIMG" info --json "$file" >output 2>/dev/null
    if [ $? -eq $status ] && { [ $status -ne 0 ] || jq -e 'type == "object"' output >/dev/null 2>&1; }; then
        ok "$name: info --json"
    else
        not_ok "$name: info --json" "not JSON, or another status than $status" "$(head -c 500 output)"
    fi
    limited "$CHRIMG" fatten -n "$file" -o never.img >output 2>&1
    status=$?
    if [ "$fatten" = 0 ]; then
        verdict "$name" "fatten -n" 0 ""
    else
        verdict "$name" "fatten -n" "$fatten" "${pattern##*@@}"
    fi
    if [ -e never.img ]; then
        not_ok "$name: fatten -n writes nothing"
        rm -f never.img
    fi
}

"$MKCHR" 7.19 ext.img
"$MKCHR" 7.20 ext4.img --boot-ext4
"$MKCHR" mbr2 mbr2.img
"$MKCHR" fat fat.img
"$MKCHR" raw raw.img
for base in ext ext4 mbr2 fat raw; do
    recipe=("$base.img unchanged")
    judge_image "unchanged $base" $base.img 0 0 ""
done

# Where things lie in ext.img; debugfs answers.
dd if=ext.img of=ext.p1 bs=512 skip=34 count=65536 status=none
ask() {
    debugfs -R "$1" ext.p1 2>/dev/null
}
inode_of() {
    ask "stat $1" | sed -n 's/^Inode: *\([0-9]*\).*/\1/p'
}
EFI=$(inode_of /EFI)
BOOT=$(inode_of /EFI/BOOT)
KERNEL=$(inode_of /EFI/BOOT/BOOTX64.EFI)
MAP=$(inode_of /map)
ROOT_BLOCK=$(ask "blocks <2>" | awk '{ print $1 }')
BOOT_BLOCK=$(ask "blocks <$BOOT>" | awk '{ print $1 }')
KERNEL_BLOCK=$(ask "bmap <$KERNEL> 0" | awk '{ print $1 }')
INDIRECT=$(ask "stat <$KERNEL>" | sed -n 's/.*(IND):\([0-9]*\).*/\1/p')
check "the good image was understood" test -n "$EFI" -a -n "$BOOT" -a -n "$KERNEL" -a -n "$MAP" \
    -a -n "$ROOT_BLOCK" -a -n "$BOOT_BLOCK" -a -n "$KERNEL_BLOCK" -a -n "$INDIRECT"
K=inode$KERNEL
M=inode$MAP
# EFI/BOOT holds `.` (12 bytes), `..` (12 bytes), and then the kernel's entry.
ENTRY=block$BOOT_BLOCK+24
ENTRY_LENGTH=block$BOOT_BLOCK+28
ENTRY_NAME_LENGTH=block$BOOT_BLOCK+30
ENTRY_NAME=block$BOOT_BLOCK+32
# The kernel's PE header is at 64: signature, machine (+4), sections (+6).
PE=$((KERNEL_BLOCK * 4096 + 64))

# ---- GPT: a bad copy is named, and the good one used ----

# What lies at LBA 1-33 may be anything then, so it is not overwritten.
hostile "gpt: no signature" ext 0 1 'no primary copy@@LBA 1-33 hold something' gpt.signature=0
hostile "gpt: unknown revision" ext 0 0 'revision' gpt.revision=0x20000
hostile "gpt: header size 0" ext 0 0 'header size' gpt.header_size=0
hostile "gpt: header size of 4 GiB" ext 0 0 'header size' gpt.header_size=0xffffffff
hostile "gpt: header CRC" ext 0 0 'header CRC' gpt.crc=0x12345678
hostile "gpt: wrong own LBA" ext 0 0 'says it is at LBA' gpt.own=2
hostile "gpt: 4 Gi entries" ext 0 0 'entries' gpt.count=0xffffffff
hostile "gpt: no entries" ext 0 0 'entries' gpt.count=0
hostile "gpt: entries of 0 bytes" ext 0 0 'bytes, only 128' gpt.entry_size=0
hostile "gpt: entries of 2 GiB" ext 0 0 'bytes, only 128' gpt.entry_size=0x80000000
hostile "gpt: entries outside the disk" ext 0 0 'outside the disk' gpt.entries=0x10000000000
hostile "gpt: entries at the last LBA there is" ext 0 0 'outside the disk' gpt.entries=-1
hostile "gpt: entries' CRC" ext 0 0 'CRC of the entries' gpt.entries_crc=0
hostile "gpt: usable range turned round" ext 0 0 'usable range' gpt.first_usable=200000 \
    gpt.last_usable=100
hostile "gpt: usable range past the disk" ext 0 0 'usable range' gpt.last_usable=-1
hostile "gpt: backup's CRC" ext 0 0 'backup' bak.crc=1
hostile "gpt: backup with other entries" ext 0 0 'different entries' bak1.last=65000
hostile "gpt: backup said to be inside a partition" ext 0 0 'backup' gpt.other=1000
hostile "gpt: backup said to be past the disk" ext 0 0 'backup' gpt.other=-2
hostile "gpt: both copies damaged" ext 0 0 'primary copy is damaged' gpt.crc=1 bak.crc=1

# ---- GPT: sound to the checksum, and wrong ----

hostile "gpt: partition past the disk" ext '0|3' 3 'not within the disk' \
    gpt2.last=0x7fffffffffff bak2.last=0x7fffffffffff
hostile "gpt: partition ends before it begins" ext '0|3' 3 'partition 2' \
    gpt2.last=65000 bak2.last=65000
hostile "gpt: partition at LBA 0" ext '0|3' 3 'partition 1|LBA 0@@not understood' gpt1.first=0 bak1.first=0
hostile "gpt: partition 2 begins inside of 1" ext '0|3' 3 'inside@@different places' \
    gpt2.first=40000 bak2.first=40000
hostile "gpt: two equal partitions" ext '0|3' '1|3' 'inside|overlap|begin' \
    gpt2.first=34 gpt2.last=65569 bak2.first=34 bak2.last=65569
hostile "gpt: a third partition over all" ext '0|3' '1|3' 'inside|overlap' \
    gpt3.type=0x123456789 gpt3.first=34 gpt3.last=258000 \
    bak3.type=0x123456789 bak3.first=34 bak3.last=258000
hostile "gpt: partition over the backup" ext 0 0 'inside the backup' \
    gpt2.last=262143 bak2.last=262143
hostile "gpt: MBR and GPT begin in different places" ext '0|3' '1|3' 'not in the|different places' \
    gpt1.first=100 bak1.first=100
hostile "gpt: no entry is used" ext '0|3' '1|3' 'no partition|not in the GPT' \
    gpt1.type=0 gpt2.type=0 bak1.type=0 bak2.type=0 \
    disk+$((1024 + 8)):64=0 disk+$((1024 + 128 + 8)):64=0
hostile "gpt: a name that clears the screen" ext 0 0 '' \
    gpt1.name=0x004a0032005b001b bak1.name=0x004a0032005b001b
hostile "gpt: a name of half a surrogate pair" ext 0 0 '' gpt1.name=0x0041d8000041d800 \
    bak1.name=0x0041d8000041d800

# ---- MBR ----

hostile "mbr: no signature" ext 0 0 'MBR' mbr.signature=0
hostile "mbr: extended partition that holds itself" ext '0|3' '1|3' 'extended' \
    mbr3.type=5 mbr3.first=34 mbr3.sectors=1000
hostile "mbr: boot partition is extended" ext '0|3' '1|3' 'extended' mbr1.type=0x0f
hostile "mbr: two extended partitions" mbr2 '0|3' '1|3' 'extended' mbr3.type=5 mbr4.type=0x85 \
    mbr3.first=262000 mbr3.sectors=10 mbr4.first=262020 mbr4.sectors=10
hostile "mbr: partition past the disk" mbr2 '0|3' 3 'not within the disk' mbr2.sectors=0xffffffff
hostile "mbr: first and count overflow" mbr2 '0|3' 3 'not within the disk' \
    mbr2.first=0xfffffff0 mbr2.sectors=0xfffffff0
hostile "mbr: partition at LBA 0" mbr2 '0|3' 3 'LBA 0|partition 1' mbr1.first=0
hostile "mbr: partition without sectors" mbr2 '0|3' 3 'partition 1' mbr1.sectors=0
hostile "mbr: partition 2 inside of 1" mbr2 '0|3' 3 'inside@@ends inside the next partition' mbr2.first=30000
hostile "mbr: two partitions are active" ext 0 0 'active' mbr2.status=0x80
hostile "mbr: nothing in it, and no GPT" mbr2 '1|3' '1|3' 'no partition' mbr1.type=0 mbr2.type=0
hostile "mbr: no free entry for 0xEE" ext 0 1 'not in the GPT' mbr3.type=0x83 mbr3.first=258080 \
    mbr3.sectors=10 mbr4.type=0x83 mbr4.first=258100 mbr4.sectors=10

# ---- ext: superblock and group descriptor ----

hostile "ext: magic" ext 0 '1|3' 'RouterOS|unknown|file system@@file system|EFI' sb.magic=0
hostile "ext: block size 2^42" ext '0|3' 3 'block size' sb.log_block_size=0xffffffff
hostile "ext: block size 1 MiB" ext '0|3' 3 'block size' sb.log_block_size=10
hostile "ext: block size 1 KiB where it is 4" ext '0|3' 3 'ext' sb.log_block_size=0
hostile "ext: 4 Gi blocks" ext '0|3' 3 'ext superblock' sb.blocks=0xffffffff
hostile "ext: one block more than the partition" ext '0|3' 3 'do not fit' sb.blocks=8193
hostile "ext: no blocks" ext '0|3' 3 'ext superblock' sb.blocks=0
hostile "ext: 4 Gi inodes" ext '0|3' 3 'inodes' sb.inodes=0xffffffff
hostile "ext: no inodes" ext '0|3' 3 'inodes' sb.inodes=0
hostile "ext: inode size 0" ext '0|3' 3 'inode size' sb.inode_size=0
hostile "ext: inode size 65535" ext '0|3' 3 'inode size' sb.inode_size=0xffff
hostile "ext: inode size 129" ext '0|3' 3 'inode size' sb.inode_size=129
hostile "ext: groups of no blocks" ext '0|3' 3 'blocks per group' sb.blocks_per_group=0 \
    sb.clusters_per_group=0
hostile "ext: groups of 4 Gi blocks" ext '0|3' 3 'blocks per group' \
    sb.blocks_per_group=0xffffffff sb.clusters_per_group=0xffffffff
hostile "ext: groups of no inodes" ext '0|3' 3 'inodes per group' sb.inodes_per_group=0
hostile "ext: groups of 4 Gi inodes" ext '0|3' 3 'inodes per group' sb.inodes_per_group=0xffffffff
hostile "ext: first data block" ext '0|3' 3 'ext superblock' sb.first_data_block=0xffffffff
hostile "ext: unknown incompatible feature" ext 0 1 '0x80000000' \
    sb.incompat=0x80000002
for feature in compression:0x1 journal_dev:0x8 mmp:0x100 ea_inode:0x400 \
    inline_data:0x8000 encrypt:0x10000 casefold:0x20000; do
    hostile "ext: feature ${feature%:*}" ext 0 1 "${feature%:*}" \
        sb.incompat=$((${feature#*:} | 2))
done
hostile "ext: bigalloc, clusters of 64 KiB" ext 0 '1|3' 'bigalloc|cluster' sb.ro_compat=0x203 \
    sb.log_cluster_size=6
hostile "ext: journal to be replayed" ext 0 1 'journal' sb.incompat=6 sb.compat=0xc
hostile "ext: errors were found in it" ext 0 1 'error' sb.state=2
hostile "ext: more free blocks than blocks" ext '0|3' 3 'free' sb.free_blocks=9000
hostile "ext: more free inodes than inodes" ext '0|3' 3 'free' sb.free_inodes=9000
hostile "ext: a label that rings" ext 0 0 '' sb.label=0x1b5b324a07070707
hostile "ext: inode table outside" ext '0|3' 3 'ext' gd.inode_table=0xfffffff
hostile "ext: inode table at block 0" ext '0|3' 3 'ext' gd.inode_table=0
hostile "ext: inode table over the last block" ext '0|3' 3 'ext' gd.inode_table=8190
hostile "ext: block bitmap outside" ext 0 3 'outside' gd.block_bitmap=0xfffffff

# ---- ext: inodes ----

hostile "inode: kernel of 2^47 bytes" ext '0|3' '1|3' 'BOOTX64' "$K.size_high=0x7fff"
hostile "inode: kernel of 2^64 - 1 bytes" ext '0|3' '1|3' 'BOOTX64' \
    "$K.size=-1" "$K.size_high=-1"
hostile "inode: kernel longer than its blocks" ext 0 0 '' "$K.size=0x700000"
broken_loader "inode: kernel shorter than its headers say" ext "$K.size=5000"
hostile "inode: block outside the file system" ext '0|3' 3 'BOOTX64.*outside' \
    "$K.block0=0xfffffff"
hostile "inode: first block past the end" ext '0|3' 3 'BOOTX64.*outside' "$K.block0=8192"
hostile "inode: block is the superblock's" ext '0|3' 3 'BOOTX64' "$K.block0=0"
hostile "inode: block is the inode table's" ext '0|3' 3 '@@BOOTX64' "$K.block1=4"
hostile "inode: two files share a block" ext '0|3' 3 '@@belongs to another' \
    "$M.block0=$KERNEL_BLOCK"
hostile "inode: one file has a block twice" ext '0|3' 3 '@@belongs to another' \
    "$K.block1=$KERNEL_BLOCK"
hostile "inode: a file's block is a folder's" ext '0|3' 3 '@@belongs to another' \
    "$M.block0=$BOOT_BLOCK"
hostile "inode: indirect block lists itself" ext '0|3' 3 '@@BOOTX64' \
    "block$INDIRECT+0:32=$INDIRECT"
hostile "inode: indirect block outside" ext '0|3' 3 'BOOTX64.*(outside|[Ii]llegal)' "$K.ind=0xffffff"
hostile "inode: indirect block full of rubbish" ext '0|3' 3 'BOOTX64' \
    "$K.ind=$((KERNEL_BLOCK + 3))"
hostile "inode: double indirect block lists itself" ext '0|3' 3 'BOOTX64|twice' \
    "$K.dind=$INDIRECT" "block$INDIRECT+0:32=$INDIRECT" "$K.size=0x1f00000"
hostile "inode: triple indirect outside" ext 0 3 'BOOTX64.*(outside|[Ii]llegal)' "$K.tind=0xffffff"
hostile "inode: the root is a file" ext '0|3' 3 'root' inode2.mode=0x81a4
hostile "inode: the root is deleted" ext '0|3' 3 'inode 2 is deleted' inode2.mode=0 inode2.links=0
hostile "inode: a folder is a file" ext '0|3' '1|3' 'EFI' "inode$EFI.mode=0x81a4"
hostile "inode: a folder of 4 GiB" ext '0|3' 3 'folder' "inode$BOOT.size=0xfffff000"
hostile "inode: a folder of odd size" ext 0 0 '' "inode$BOOT.size=4095"
hostile "inode: a folder of no size" ext '0|3' '1|3' 'EFI' "inode$BOOT.size=0"
hostile "inode: kernel is deleted" ext '0|3' '1|3' 'BOOTX64' "$K.mode=0" "$K.links=0"
hostile "inode: kernel is a symbolic link" ext '0|3' 1 'EFI loader' "$K.mode=0xa1ff"
hostile "inode: map is a device" ext '0|3' 1 '@@device' "$M.mode=0x61ff"
hostile "inode: map is of no kind" ext '0|3' '1|3' 'map|device' "$M.mode=0xf1ff"
hostile "inode: map is inline" ext '0|3' '1|3' 'map' "$M.flags=0x10000000"
hostile "inode: map is encrypted" ext '0|3' '1|3' 'map' "$M.flags=0x800"

# ---- ext: folder entries ----

hostile "folder: entry of no length" ext '0|3' 3 'entry of 0 bytes|folder entry' "$ENTRY_LENGTH:16=0"
hostile "folder: entry of 4 bytes" ext '0|3' 3 'folder entry' "$ENTRY_LENGTH:16=4"
hostile "folder: entry past the block" ext '0|3' 3 'folder entry' "$ENTRY_LENGTH:16=0xfff0"
hostile "folder: entry of odd length" ext '0|3' 3 'folder entry' "$ENTRY_LENGTH:16=4071"
hostile "folder: name longer than its entry" ext '0|3' 3 'name is longer' \
    "block$BOOT_BLOCK+6:8=200"
hostile "folder: name with NUL" ext '0|3' 3 'NUL' "$ENTRY_NAME_LENGTH:8=200"
hostile "folder: name of no length" ext '0|3' 3 'name is empty' "$ENTRY_NAME_LENGTH:8=0"
hostile "folder: name with a slash" ext '0|3' 3 '/' "$ENTRY_NAME:8=0x2f"
hostile "folder: a second .." ext '0|3' '1|3' 'EFI loader|folder' "$ENTRY_NAME:16=0x2e2e" \
    "$ENTRY_NAME_LENGTH:8=2"
hostile "folder: name that rings" ext '0|3' '1|3' 'FAT cannot hold|EFI' "$ENTRY_NAME:8=7"
hostile "folder: inode past the last" ext '0|3' 3 'inode' "$ENTRY:32=0xffffffff"
hostile "folder: reserved inode" ext '0|3' '1|3' 'EFI|BOOT' "$ENTRY:32=7"
hostile "folder: the root is in it" ext '0|3' 3 'same inode|loop' "$ENTRY:32=2"
hostile "folder: it is in itself" ext '0|3' 3 'same inode|loop' "$ENTRY:32=$BOOT"
hostile "folder: its parent is in it" ext '0|3' 3 'same inode|loop' "$ENTRY:32=$EFI"
# The root block: `.` 12, `..` 12, lost+found 20, EFI 12, map.
hostile "folder: two entries of one name" ext '0|3' '1|3' 'EFI' "block$ROOT_BLOCK+64:32=0x00494645"
hostile "folder: a name FAT cannot hold" ext 0 1 'map|EFI@@FAT cannot hold' "block$ROOT_BLOCK+64:8=0x2a"
hostile "folder: two names of one file" ext 0 0 '' "block$ROOT_BLOCK+56:32=$KERNEL"
hostile "folder: name not UTF-8" ext '0|3' 1 'EFI@@UTF-8' "block$ROOT_BLOCK+64:16=0xffc0"

# ---- ext4: extents ----

dd if=ext4.img of=ext4.p1 bs=512 skip=34 count=65536 status=none
X=$(debugfs -R 'stat /EFI/BOOT/BOOTX64.EFI' ext4.p1 2>/dev/null | sed -n 's/^Inode: *\([0-9]*\).*/\1/p')
check "the ext4 image was understood" test -n "$X"
hostile "extents: magic" ext4 '0|3' 3 'BOOTX64|extent' "inode$X.extent_magic=0"
hostile "extents: 65535 entries" ext4 '0|3' 3 'BOOTX64|extent' "inode$X.extent_entries=0xffff"
hostile "extents: depth 9" ext4 '0|3' 3 'BOOTX64|extent' "inode$X.extent_depth=9"
hostile "extents: outside" ext4 '0|3' 3 'BOOTX64|outside' "inode$X.extent_start=0xfffffff"
hostile "extents: past the end" ext4 '0|3' 3 'BOOTX64|outside' "inode$X.extent_start=8000"
hostile "extents: over the superblock" ext4 '0|3' 3 'BOOTX64|metadata|twice' "inode$X.extent_start=0"
hostile "extents: far logical block" ext4 '0|3' 3 'BOOTX64' "inode$X.extent_first=0xfffffff0"
hostile "extents: an extent of no blocks" ext4 '0|3' 3 'BOOTX64|extent' "inode$X.extent_len=0"

# ---- FAT ----

hostile "fat: sectors of no bytes" fat '0|3' '1|3' 'FAT|file system' bpb.sector_size=0
hostile "fat: sectors of 4096 bytes" fat '0|1|3' '1|3' 'FAT|sector|file system' bpb.sector_size=4096
hostile "fat: clusters of no sectors" fat '0|3' '1|3' 'FAT|file system' bpb.cluster_sectors=0
hostile "fat: clusters of 3 sectors" fat '0|3' '1|3' 'FAT|file system' bpb.cluster_sectors=3
hostile "fat: no reserved sector" fat '0|3' '1|3' 'FAT|file system' bpb.reserved=0
hostile "fat: all is reserved" fat '0|3' '1|3' 'FAT|BPB' bpb.reserved=0xffff
hostile "fat: no table" fat '0|3' '1|3' 'FAT|file system' bpb.fats=0
hostile "fat: 255 tables" fat '0|3' '1|3' 'FAT|BPB' bpb.fats=255
hostile "fat: no root folder" fat '0|3' '1|3' 'FAT|file system|EFI loader' bpb.root_entries=0
hostile "fat: 65535 root entries" fat '0|3' '1|3' 'FAT' bpb.root_entries=0xffff
hostile "fat: larger than the partition" fat '0|3' 3 'the BPB claims' \
    bpb.sectors32=0xffffffff
hostile "fat: a table of 1 sector" fat '0|3' '1|3' 'FAT' bpb.fat_sectors=1
hostile "fat: a table of 65535 sectors" fat '0|3' '1|3' 'FAT|BPB' bpb.fat_sectors=0xffff
hostile "fat: a chain that turns back" fat '0|3' 3 'twice|loop' fat100=50
hostile "fat: a cluster that follows itself" fat '0|3' 3 'twice|loop' fat100=100
hostile "fat: a chain that leads outside" fat '0|3' 3 'outside' fat100=60000
hostile "fat: a chain into a reserved cluster" fat '0|3' 3 'FAT|outside' fat100=1
hostile "fat: a chain into a free cluster" fat '0|3' 3 'BOOTX64|FAT' fat100=0
hostile "fat: a chain into a bad cluster" fat '0|3' 3 'BOOTX64|FAT|bad' fat100=0xfff7
hostile "fat: a chain that ends early" fat '0|3' 3 'BOOTX64' fat100=0xffff
hostile "fat: the two tables differ" fat '0|3' 3 'differ' fata100=0xffff
hostile "fat: a folder's chain turns back" fat '0|3' 3 'twice|loop|cluster' fat2=2
hostile "fat: a folder's chain leads into a file" fat '0|3' 3 'twice|loop|cluster' fat2=4
# The data area: EFI in cluster 2, EFI/BOOT in cluster 3; an entry's cluster is at 26, its size at 28.
dd if=fat.img of=fat.p1 bs=512 skip=34 count=65536 status=none
DATA=$(od -An -tu2 -j14 -N2 fat.p1)
DATA=$((DATA + 2 * $(od -An -tu2 -j22 -N2 fat.p1) + $(od -An -tu2 -j17 -N2 fat.p1) / 16))
CLUSTER=$((512 * $(od -An -tu1 -j13 -N1 fat.p1)))
# `.` and `..` come first, then the only entry.
IN_EFI=$((DATA * 512 + 64))
IN_BOOT=$((DATA * 512 + CLUSTER + 64))
hostile "fat: a folder that is its own parent" fat '0|3' 3 'twice|loop|cluster' \
    "p1+$((IN_EFI + 26)):16=2"
hostile "fat: a folder outside" fat '0|3' 3 'outside|cluster' "p1+$((IN_EFI + 26)):16=0xfff0"
hostile "fat: a folder at cluster 0" fat '0|3' 3 'cluster' "p1+$((IN_EFI + 26)):16=0"
hostile "fat: a folder with a size" fat 0 0 '' "p1+$((IN_EFI + 28)):32=77"
hostile "fat: a file at cluster 1" fat '0|3' 3 'cluster|BOOTX64' "p1+$((IN_BOOT + 26)):16=1"
hostile "fat: a file of 4 GiB" fat '0|3' 3 'BOOTX64' "p1+$((IN_BOOT + 28)):32=0xffffffff"
hostile "fat: a file shorter than its chain" fat '0|3' 3 'BOOTX64' "p1+$((IN_BOOT + 28)):32=100"
hostile "fat: a name with a slash" fat '0|3' 3 '/|name' "p1+$IN_BOOT:8=0x2f"
hostile "fat: a name that rings" fat '0|3' '1|3' 'name|FAT|EFI' "p1+$IN_BOOT:8=7"
hostile "fat: a long name that belongs to nobody" fat '0|3' 1 'EFI loader' "p1+$((IN_BOOT + 11)):8=0x0f"
hostile "fat: no folder EFI" fat '0|3' '1|3' 'EFI' \
    "p1+$((IN_EFI)):8=0xe5"

# ---- what the files are ----

hostile "kernel: no MZ" ext 0 '1|3' 'UEFI|EFI' "p1+$((KERNEL_BLOCK * 4096)):16=0"
hostile "kernel: PE header far away" ext 0 '1|3' 'PE|EFI' "p1+$((KERNEL_BLOCK * 4096 + 60)):32=0xfffffff0"
hostile "kernel: no PE signature" ext 0 '1|3' 'PE|EFI' "p1+$PE:32=0"
hostile "kernel: 65535 sections" ext 0 '1|3' 'sections|EFI' "p1+$((PE + 6)):16=0xffff"
hostile "kernel: no section" ext 0 3 'sections' "p1+$((PE + 6)):16=0"
broken_loader "kernel: for another machine" ext "p1+$((PE + 4)):16=0x1234"
broken_loader "kernel: for 32 bits" ext "p1+$((PE + 4)):16=0x14c"
hostile "kernel: not for EFI" ext 0 '1|3' 'EFI' "p1+$((PE + 24 + 68)):16=3"
broken_loader "kernel: a section of 4 GiB" ext "p1+$((PE + 24 + 160 + 40 + 16)):32=0xffffffff"
RAW_PE=$((512 * 1024 + 64))
hostile "raw kernel: a section of 4 GiB" raw '0|3' '1|3' 'kernel|EFI|file system' \
    "p1+$((RAW_PE + 24 + 160 + 40 + 16)):32=0xfffffe00"
hostile "raw kernel: its section is far away" raw '0|3' '1|3' 'kernel|EFI|file system' \
    "p1+$((RAW_PE + 24 + 160 + 40 + 20)):32=0x7ffffe00"
hostile "raw kernel: no PE signature" raw '0|3' '1|3' 'EFI|file system' "p1+$RAW_PE:32=0"
dd if=ext.img of=ext.p2 bs=512 skip=65570 count=192478 status=none conv=sparse
NPK=$(debugfs -R 'bmap /var/pdb/system/image 0' ext.p2 2>/dev/null | awk '{ print $1 }')
check "the package was found" test -n "$NPK"
NPK=$((NPK * 4096))
hostile "package: magic" ext 0 0 'NPK|package|version' "p2+$NPK:32=0"
hostile "package: its first part is of another type" ext 0 0 'package|version' "p2+$((NPK + 8)):16=9"
hostile "package: its first part has 4 GiB" ext 0 0 'package|version' "p2+$((NPK + 10)):32=0xffffffff"
hostile "package: a name that rings" ext 0 0 '' "p2+$((NPK + 14)):8=7"
hostile "root: magic" ext '0|3' 0 '' root.magic=0
hostile "root: 4 Gi blocks" ext '0|3' 0 'ext superblock' root.blocks=0xffffffff
hostile "root: inode size 0" ext '0|3' 0 'inode size' root.inode_size=0

# ---- the file itself ----

# file NAME PATH STATUS PATTERN
file() {
    recipe=("$2")
    judge_image "file: $1" "$2" "$3" "$3" "$4"
}
: >empty.img
file "empty" empty.img '1|3' 'empty|0 bytes'
head -c 511 ext.img >odd.img
file "less than a sector" odd.img '1|3' 'bytes'
head -c 512 ext.img >sector.img
file "one sector" sector.img '1|3' 'bytes|not within'
head -c $((20 * 1024 * 1024)) ext.img >cut.img
file "cut within the boot partition" cut.img '1|3' 'not within|outside'
truncate -s 8E vast.img 2>/dev/null || truncate -s 15T vast.img
file "as large as files get, and empty" vast.img '1|3' 'partition table|bytes'
truncate -s 64M zeros.img
file "zeros" zeros.img '1|3' 'partition table'
yes 'not a disk' | head -c 64M >text.img
file "text" text.img '1|3' 'partition table'
mkfifo fifo.img
file "a FIFO" fifo.img '1|2|3' 'neither'
ln -s loop.img loop.img
file "a symbolic link to itself" loop.img '1|2|3' 'loop.img'

done_testing
