#!/usr/bin/env bash
# Ext images that lie, before the ext editor and its verifier.  Each is made of a sound
# one by debugfs or by bytes, and proves itself hostile: e2fsck complains about it.  The
# verifier must name the fault; every step must be refused with a message, or end in an
# image that e2fsck finds clean; the file of a refused one is as it was.
# shellcheck disable=SC2034 # read by lib.sh
IN_MEMORY=yes
. "$(dirname "$0")/../lib.sh"
needs_tool mke2fs e2fsck debugfs

STEPS=$BUILD/tests/ext/steps
SECONDS_ALLOWED=20
KIB_ALLOWED=131072

limited() (
    if ! under_sanitizer "$STEPS"; then ulimit -v $KIB_ALLOWED; fi
    exec timeout "$SECONDS_ALLOWED" "$@"
)

# ---- sound images ----

mkdir -p tree/rw/sub/deep tree/names tree/other
yes autorun | head -c 2000 >tree/rw/autorun.scr
yes first | head -c 90000 >tree/first
yes second | head -c 5000 >tree/second
echo deep >tree/rw/sub/deep/file
ln -s rw/autorun.scr tree/symlink
for i in $(seq 300); do echo "$i" >"tree/names/one_of_the_names_$i"; done
echo secret >attribute

# make_base FILE OPTIONS...
make_base() {
    local file=$1
    shift
    mke2fs -q -F -b 1024 -N 600 -U 00000000-0000-4000-8000-000000000001 -d tree "$@" "$file" 8M ||
        return 1
    printf 'ea_set -f attribute /second user.note\nln /first /rw/again\nsif /first links_count 2\n' |
        debugfs -w -f - "$file" >/dev/null 2>&1
    e2fsck -fyD "$file" >/dev/null 2>&1
    e2fsck -fn "$file" >/dev/null 2>&1
}
check "a sound ext3" make_base ext3.img -t ext3 -I 128
check "a sound ext4" make_base ext4.img -t ext4

# ---- where things are ----

ask() { # BASE REQUEST
    debugfs -R "$2" "$1.img" 2>/dev/null
}
block_of() { # BASE PATH [INDEX]: a block of the file's data
    ask "$1" "bmap $2 ${3:-0}" | tail -n 1
}
inode_of() { # BASE PATH
    ask "$1" "stat $2" | sed -n 's/^Inode: *\([0-9]*\).*/\1/p'
}
entry_of() { # BASE FOLDER NAME: byte offset of the entry, in the image
    local block
    block=$(block_of "$1" "$2")
    dd if="$1.img" bs=1024 skip="$block" count=1 status=none >entry.block
    echo $((block * 1024 + $(grep -abo "$3" entry.block | head -n 1 | cut -d: -f1) - 8))
}
# little WIDTH NUMBER: its bytes in hexadecimal, lowest first
little() {
    local i
    for ((i = 0; i < $1; i++)); do printf '%02x' $((($2 >> (8 * i)) & 255)); done
}

# ---- hostile ones ----

# e2fsck has nothing to say about FILE; with some faults it ends with 0 all the same.
is_clean() {
    e2fsck -fn "$1" >e2fsck.log 2>&1 && ! grep -q '? no' e2fsck.log
}

# Each change is a request to debugfs, or "poke OFFSET HEX".
apply() {
    local change
    for change; do
        case $change in
        poke\ *)
            # shellcheck disable=SC2086 # two words
            set -- $change
            xxd -r -p <<<"$3" | dd of=case.img bs=1 seek="$2" conv=notrunc status=none
            ;;
        *) debugfs -w -R "$change" case.img >>made.log 2>&1 ;;
        esac
    done
}

steps_of_a_user=(
    "put rw/autorun.scr attribute"
    "put first attribute"
    "put names/new attribute"
    "mkdir rw/folder"
    "rm second"
    "rmr rw"
    "rmr names"
)

# try_step NAME STEP: on a copy of case.img; says in `reason` what is wrong.
try_step() {
    local status
    cp case.img try.img
    # shellcheck disable=SC2086 # words of a step
    limited "$STEPS" try.img $1 >output 2>&1
    status=$?
    case $status in
    0) is_clean try.img || reason="$1: done, but e2fsck complains: $(
        grep -v ^Pass e2fsck.log | head -n 3)" ;;
    1 | 2)
        grep -q '^error [0-9]*: .' output || reason="$1: refused without a word"
        grep -q '^error 11: ' output && reason="$1: calls itself wrong: $(cat output)"
        cmp -s case.img try.img || reason="$1: refused, but the file is another"
        ;;
    *) reason="$1: status $status: $(head -c 400 output)" ;;
    esac
}

# hostile NAME BASE PATTERN CHANGE...: PATTERN is what the verifier says.
hostile() {
    local name=$1 base=$2 pattern=$3 reason='' step
    shift 3
    cp "$base.img" case.img
    : >made.log
    apply "$@"
    if is_clean case.img; then
        not_ok "$name: hostile" "e2fsck finds nothing" "$*" "$(cat made.log)"
        return
    fi
    limited "$STEPS" case.img verify >output 2>&1
    case $? in
    2) grep -qE -- "$pattern" output || reason="the verifier says: $(cat output)" ;;
    *) reason="the verifier: status $?: $(head -c 400 output)" ;;
    esac
    for step in "${steps_of_a_user[@]}"; do
        if [ -z "$reason" ]; then try_step "$step"; fi
    done
    if [ -z "$reason" ]; then
        ok "$name ($base)"
    else
        not_ok "$name ($base)" "$reason" "made by: $*"
    fi
}

# refused NAME BASE PATTERN STEP CHANGE...: sound to e2fsck, perhaps, but not to be written;
# the editor says so.
refused() {
    local name=$1 base=$2 pattern=$3 step=$4
    shift 4
    cp "$base.img" case.img
    apply "$@"
    cp case.img try.img
    # shellcheck disable=SC2086 # words of a step
    check_exit "$name ($base)" 1 "$pattern" limited "$STEPS" try.img $step
    if ! cmp -s case.img try.img; then not_ok "$name: the image is another"; fi
}

# -- blocks --
hostile "a block outside the file system" ext3 'outside the file system' \
    'sif /second block[0] 0x7fffffff'
hostile "a block in the inode table" ext3 'in use twice' \
    "sif /second block[0] $(ask ext3 'imap <2>' | sed -n 's/.*located at block \([0-9]*\).*/\1/p')"
hostile "a block that is the superblock" ext3 'in use twice' 'sif /second block[0] 1'
hostile "one block of two files" ext3 'in use twice' \
    "sif /second block[0] $(block_of ext3 /rw/autorun.scr)"
hostile "one block twice in a file" ext3 'in use twice' \
    "sif /second block[0] $(block_of ext3 /second 1)"
hostile "a file's block marked free" ext3 'marked free' "freeb $(block_of ext3 /rw/autorun.scr)"
hostile "a folder's block marked free" ext4 'marked free' "freeb $(block_of ext4 /rw)"
hostile "a used block that is nothing's" ext4 "nothing's" 'setb 8000'
hostile "the inode table marked free" ext3 'marked free' \
    "freeb $(ask ext3 'imap <2>' | sed -n 's/.*located at block \([0-9]*\).*/\1/p')"
hostile "an indirect block outside" ext3 'outside|short' 'sif /first block[IND] 0x7ffffff0'
IND=$(ask ext3 'stat /first' | tr ', ' '\n' | sed -n 's/^(IND)://p')
hostile "an indirect block that names itself" ext3 'in use twice' \
    "poke $((IND * 1024)) $(little 4 "$IND")"
hostile "a double indirect block that names itself" ext3 'twice|more blocks|outside' \
    "sif /first block[DIND] $IND"
hostile "a count of blocks that is wrong" ext3 'counts [0-9]+ blocks' 'sif /second blocks 4000'
hostile "a size far behind its blocks" ext3 'but blocks up to' 'sif /first size 10'
# -- extents --
hostile "an extent header without its magic" ext4 'extent' 'sif /second block[0] 0'
hostile "an extent outside" ext4 'outside' 'sif /second block[5] 0x7fffffff'
hostile "an extent longer than the file system" ext4 'outside|more blocks|bad|but blocks up' \
    'sif /second block[4] 0x7fff'
hostile "an extent that is inode tables" ext4 'twice' "sif /second block[5] 40"
hostile "an extent of no blocks" ext4 'bad|corrupt' 'sif /second block[4] 0'
hostile "more extents than there is room" ext4 'extent|header' 'sif /second block[0] 0xffff30a' \
    'sif /second block[1] 0xffff'
hostile "an extent tree of 65535 levels" ext4 'outside|twice|header|corrupt' \
    'sif /second block[1] 0xffff0004'
hostile "an extent node that is data" ext4 'outside|magic|header|twice|checksum' \
    'sif /second block[1] 0x00010004'
# -- inodes --
hostile "an inode in use marked free" ext3 'marked free' \
    "freei <$(inode_of ext3 /rw/autorun.scr)>"
hostile "a link too many" ext4 'counts 5 links' 'sif /second links_count 5'
hostile "a link too few" ext4 'counts 1 links' 'sif /first links_count 1'
hostile "a deleted inode with a name" ext3 'free' 'sif /second links_count 0'
hostile "an inode that was cleared" ext3 'free|marked' 'clri /second'
hostile "a mode of nothing" ext4 'mode' 'sif /second mode 0'
hostile "a file that says it is a folder" ext4 'bytes, but blocks|does not begin|entry' \
    'sif /second mode 040755'
hostile "a folder that says it is a file" ext4 'counts 7 folders' 'sif /rw mode 0100644'
hostile "a symbolic link of another size" ext3 'symbolic link' 'sif /symlink size 3'
hostile "the root is a file" ext3 'counts 7 folders' 'sif <2> mode 0100644'
hostile "an extra size of 3" ext4 'extra size' 'sif /second extra_isize 3'
# -- folders --
AUTORUN=$(entry_of ext3 /rw autorun.scr)
hostile "an entry of no length" ext3 'an entry of 0 bytes' "poke $((AUTORUN + 4)) 0000"
hostile "an entry longer than its block" ext3 'an entry of' "poke $((AUTORUN + 4)) f0ff"
hostile "an entry of 13 bytes" ext3 'an entry of 13' "poke $((AUTORUN + 4)) 0d00"
hostile "a name longer than its entry" ext3 'does not fit' "poke $((AUTORUN + 6)) ff"
hostile "a name with a slash" ext3 'holds a /' "poke $((AUTORUN + 9)) 2f"
hostile "a name with a NUL" ext3 'holds a /' "poke $((AUTORUN + 9)) 00"
hostile "an entry for an inode outside" ext3 'names inode' "poke $AUTORUN ffffff7f"
hostile "an entry for the journal" ext3 'names inode 8' "poke $AUTORUN 08000000"
hostile "an entry for a free inode" ext3 'is free' "poke $AUTORUN $(little 4 590)"
hostile "an entry of another type" ext3 'type' "poke $((AUTORUN + 7)) 02"
hostile "one name twice" ext3 'twice' "poke $(($(entry_of ext3 / first) + 6)) 06" \
    "poke $(($(entry_of ext3 / first) + 8)) $(printf second | xxd -p)"
hostile "a folder with two names" ext3 'two names' 'ln /rw /other/rw'
hostile "a folder within itself" ext3 'two names|has a|holds|names' 'ln /rw /rw/sub/again'
hostile "a folder in no folder" ext3 'no folder|no name' 'unlink /other'
SUB=$(block_of ext3 /rw/sub)
hostile "a .. that is elsewhere" ext3 'its \.\. is' "poke $((SUB * 1024 + 12)) $(little 4 2)"
hostile "a . that is another" ext3 'entry \. is' "poke $((SUB * 1024)) $(little 4 2)"
hostile "a folder that is a circle" ext3 'two names|in itself|its \.\. is' \
    "poke $(entry_of ext3 /rw/sub deep) $(little 4 "$(inode_of ext3 /rw)")"
hostile "a folder with a hole" ext3 'bytes, but blocks|twice|counts|marked' 'sif /names block[1] 0'
hostile "a folder of another size" ext3 'bytes, but blocks' 'sif /names size 4096'
hostile "a folder's checksum is wrong" ext4 'checksum' \
    "poke $(($(block_of ext4 /rw) * 1024 + 1020)) 00112233"
# -- the index of a folder --
ROOT=$(($(block_of ext3 /names) * 1024))
hostile "an index of more entries than fit" ext3 'its counts' "poke $((ROOT + 34)) ffff"
hostile "an index of no entries" ext3 'its counts' "poke $((ROOT + 34)) 0000"
hostile "an index that leads outside" ext3 'not in the folder' "poke $((ROOT + 36)) ff000000"
hostile "an index that leads to itself" ext3 'two entries lead|no node' "poke $((ROOT + 36)) 00000000"
hostile "an index with two ways to one block" ext3 'two entries|hash leads' \
    "poke $((ROOT + 36)) 02000000"
hostile "an index with its hashes out of order" ext3 'order|hash leads' \
    "poke $((ROOT + 40)) feffffff"
hostile "an index of five levels" ext3 'no root' "poke $((ROOT + 30)) 05"
hostile "an index with a hash nobody knows" ext3 'no root' "poke $((ROOT + 28)) 09"
hostile "an index that leads past its names" ext3 'hash leads|order' \
    "poke $((ROOT + 40)) $(little 4 2)"
# -- groups, superblock --
hostile "a block bitmap outside" ext3 'outside|twice' 'set_bg 0 block_bitmap 0x7fffffff'
hostile "an inode table over the superblock" ext3 'outside|twice|overlaps|Corrupt|corrupt|bad' \
    'set_bg 0 inode_table 1'
hostile "a group's count of free blocks" ext3 'free blocks' 'set_bg 0 free_blocks_count 7'
hostile "a group's count of folders" ext3 'folders' 'set_bg 0 used_dirs_count 77'
hostile "a group's count of free inodes" ext3 'free inodes' 'set_bg 0 free_inodes_count 3'
hostile "a group's checksum" ext4 'checksum' "poke $((2048 + 30)) 1234"
hostile "a superblock's checksum" ext4 'checksum' "poke $((1024 + 1020)) 00112233"
hostile "an inode's checksum" ext4 'checksum' \
    "poke $(ask ext4 'imap /second' | sed -n 's/.*block \([0-9]*\), offset 0x\([0-9a-f]*\).*/\1 \2/p' |
        { read -r block offset && echo $((block * 1024 + 16#$offset + 124)); }) 0011"
# -- attributes --
EA=$(ask ext3 'stat /second' | sed -n 's/.*File ACL: \([0-9]*\).*/\1/p')
hostile "attributes shared by nobody" ext3 'shares' "poke $((EA * 1024 + 4)) 05000000"
hostile "attributes without their magic" ext3 'attribute' "poke $((EA * 1024)) 00000000"
hostile "attributes outside" ext3 'outside' 'sif /second file_acl 0x7fffffff'
hostile "attributes that are a file" ext3 'attribute' \
    "sif /second file_acl $(block_of ext3 /rw/autorun.scr)"

# -- what is not written, whatever is in it --
put='put new attribute'
refused "errors found by the kernel" ext3 'having errors' "$put" 'ssv state 3'
refused "not unmounted" ext3 'not unmounted' "$put" 'ssv state 0'
refused "a journal to be replayed" ext3 'journal' "$put" 'feature +needs_recovery'
refused "more is free than there is" ext3 'more is free' "$put" 'ssv free_blocks_count 100000'
refused "inodes in the orphan list" ext3 'wait for removal' "$put" \
    "ssv last_orphan $(inode_of ext3 /second)"
refused "quota" ext4 'quota' "$put" 'ssv feature_ro_compat 0x57b'
refused "bigalloc" ext4 'bigalloc' "$put" 'ssv feature_ro_compat 0x67b'
refused "verity" ext4 'verity' "$put" 'ssv feature_ro_compat 0x847b'
refused "a feature of the future" ext4 'unknown ext feature' "$put" \
    'ssv feature_ro_compat 0x4000047b'
refused "a compatible feature of the future" ext4 'unknown ext feature' "$put" \
    'ssv feature_compat 0x4000003c'
refused "encryption" ext4 'encrypt' "$put" 'ssv feature_incompat 0x102c2'
refused "inline data" ext4 'inline_data' "$put" 'ssv feature_incompat 0x82c2'
refused "large attributes" ext4 'ea_inode' "$put" 'ssv feature_incompat 0x6c2'
refused "an immutable file" ext4 'file is marked' 'put second attribute' 'sif /second flags 0x80010'
refused "an immutable folder" ext4 'folder is marked' 'put rw/new attribute' 'sif /rw flags 0x80010'
refused "an append-only folder" ext3 'folder is marked' 'rm rw/autorun.scr' 'sif /rw flags 0x20'

done_testing
