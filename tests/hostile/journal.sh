#!/usr/bin/env bash
# Journals and orphan lists that lie.  Each is made of a sound dirty one by debugfs or by
# bytes, and proves itself hostile: e2fsck finds more to do than to replay, fails, or does
# not end.  It must be refused with a message that names the fault, within its time and
# memory, and the file must stay as it was.
# shellcheck disable=SC2034 # read by lib.sh
IN_MEMORY=yes
. "$(dirname "$0")/../lib.sh"
needs_tool mke2fs e2fsck debugfs xxd

REPLAY=$BUILD/tests/ext/replay
SECONDS_ALLOWED=20
KIB_ALLOWED=131072

limited() (
    if ! under_sanitizer "$REPLAY"; then ulimit -v $KIB_ALLOWED; fi
    exec timeout "$SECONDS_ALLOWED" "$@"
)

# ---- sound ones ----

mkdir -p tree/folder
for i in 1 2 3 4; do yes "file $i" | head -c $((i * 5000)) >tree/file$i; done
head -c 1024 /dev/zero | tr '\0' D >data
head -c 1024 /dev/zero >zeros

request() { # IMAGE REQUEST...
    local image=$1
    shift
    printf '%s\n' "$@" | debugfs -w -f - "$image" >>debugfs.log 2>&1
}
ask() { # IMAGE REQUEST
    debugfs -R "$2" "$1" 2>/dev/null
}

# Two transactions: a block of file4 in blocks 1 to 3 of the journal, revoked in 4 and 5.
make_base() { # NAME JOURNAL-OPTIONS MKE2FS-OPTION...
    local name=$1 options=$2 block
    shift 2
    mke2fs -q -F -b 1024 -N 64 -J size=1 -U 00000000-0000-4000-8000-000000000001 -d tree "$@" \
        "$name.clean" 8M || return
    cp "$name.clean" "$name.dirty"
    block=$(ask "$name.clean" 'bmap file4 3')
    request "$name.dirty" "jo $options" "jw -b $block data" "jw -r $block" jc
    cp "$name.dirty" case.img
    "$REPLAY" case.img
}
check "a sound ext3" make_base ext3 '' -t ext3
check "a sound ext4" make_base ext4 '' -t ext4 -O ^metadata_csum,^64bit,orphan_file
check "a sound ext4 with checksums" make_base sums '-c -v 3' -t ext4 -O metadata_csum

# ---- where things are ----

journal() { # BASE BLOCK [BYTE]: offset in the image
    echo $(($(ask "$1.clean" "bmap <8> $2") * 1024 + ${3:-0}))
}
inode_of() { # BASE PATH
    ask "$1.clean" "stat $2" | sed -n 's/^Inode: *\([0-9]*\).*/\1/p'
}
be32() { printf '%08x' "$1"; }

poke() { # OFFSET HEX
    xxd -r -p <<<"$2" | dd of=case.img bs=1 seek="$1" conv=notrunc status=none
}

# ---- the judgement ----

# e2fsck repairs, complains or fails; where it does nothing but replay it says so in two lines.
is_hostile() {
    cp case.img proof.img
    # Where it does not end, it does not hear SIGTERM either.
    (timeout -s KILL 3 e2fsck -fy proof.img >proof.log 2>&1) 2>/dev/null || return 0
    grep -qE '\? yes|MODIFIED|corrupt|invalid|IGNORED' proof.log
}

# refused NAME PATTERN [EVIDENCE]: where e2fsck drops silently what is wrong, debugfs and
# dumpe2fs must show it: a line that matches EVIDENCE.
refused() {
    local name=$1 pattern=$2 before status
    if [ "${3:-}" ]; then
        { ask case.img 'logdump -a'; dumpe2fs -h case.img 2>&1; } >proof.log
        if ! grep -qE -- "$3" proof.log; then
            not_ok "$name" "debugfs does not show it: $(cat proof.log)"
            return
        fi
    elif ! is_hostile; then
        not_ok "$name" "it does not prove hostile: $(cat proof.log)"
        return
    fi
    before=$(sha256sum <case.img)
    limited "$REPLAY" case.img >output 2>&1
    status=$?
    if [ "$status" -ne 1 ] && [ "$status" -ne 2 ]; then
        not_ok "$name" "exit status $status: $(cat output)"
    elif ! grep -qE -- "^error (8|9|10): .*($pattern)" output; then
        not_ok "$name" "not named: $(cat output)"
    elif [ "$before" != "$(sha256sum <case.img)" ]; then
        not_ok "$name" "the file has changed"
    else
        ok "$name"
    fi
}

# from BASE: a new case; dirty, or clean for the orphans.
from() { cp "$1.${2:-dirty}" case.img; }

# ---- the log ----

from ext3
poke "$(journal ext3 1 12)" ffffff00
refused "a copy of a block outside the file system" 'writes block 4294967040, outside' \
    'FS block 4294967040 logged'
from ext3
poke "$(journal ext3 1 12)" 00000000
refused "a copy of the boot block" 'writes block 0, outside' 'FS block 0 logged'
# A descriptor instead of the revoke, the old commit block as its copy, and a new one.
own_block() { # NAME BLOCK-OF-JOURNAL
    local target=$(($(journal ext3 "$2") / 1024))
    from ext3
    poke "$(journal ext3 4 4)" 00000001
    poke "$(journal ext3 4 12)" "$(be32 $target)00000008"
    poke "$(journal ext3 6)" c03b39980000000200000002
    refused "$1" "writes block $target, which is its own" "FS block $target logged"
}
own_block "a copy of a block of the journal itself" 9
own_block "a copy of the journal's superblock" 0
from ext3
poke "$(journal ext3 4 12)" 00000401
refused "a revoke block with more bytes than a block" 'says it has 1025 bytes'
from ext3
poke "$(journal ext3 4 12)" 00000003
refused "a revoke block shorter than its head" 'says it has 3 bytes' 'revoke block, sequence 2'
from ext3
poke "$(journal ext3 4 16)" 7fffffff
refused "a revoke of a block outside the file system" 'revokes block 2147483647' 'Revoke FS block 2147483647'

fill_ring() { # HEAD: every block of the ring begins with these bytes
    local first count i
    { xxd -r -p <<<"$1"; cat zeros; } | head -c 1024 >block
    for ((i = 1; i < 1024; i++)); do cat block; done >blocks
    ask ext4.clean 'blocks <8>' | tr ' ' '\n' | sed '1d; /^$/d' |
        awk '$1 != next_block { if (n) print start, n; start = $1; n = 0 } { n++; next_block = $1 + 1 }
            END { print start, n }' |
        while read -r first count; do
            dd if=blocks of=case.img bs=1024 seek="$first" count="$count" conv=notrunc status=none
        done
}
from ext4
fill_ring c03b3998000000050000000100000010
refused "a ring full of revokes, without an end" 'runs into its own start'
from ext4
fill_ring c03b39980000000100000001000000000000000a
refused "a ring full of descriptors, without an end" 'runs into its own start'

# ---- the journal's superblock ----

superblock() { # NAME PATTERN OFFSET HEX [EVIDENCE]
    from ext3
    poke "$(journal ext3 0 "$3")" "$4"
    refused "$1" "$2" "${5:-}"
}
superblock "no superblock" 'has no superblock' 0 00000000
superblock "a superblock of another type" 'type 2' 4 00000002
superblock "another block size" 'block size 4096' 12 00001000
superblock "longer than its inode" '65536 blocks, the inode has 1024' 16 00010000
superblock "shorter than any journal" '1000 blocks' 16 000003e8 'Total journal blocks: *1000$'
superblock "a ring that begins behind its end" 'the ring begins at block 2000' 20 000007d0 'Journal start: *1$'
superblock "a log that begins outside" 'the log begins at block 1073741824' 28 40000000
superblock "an error number" 'found errors' 32 fffffffb 'Journal errno: *-5'
superblock "an unknown feature" 'feature bits 0x40000000' 40 40000000
superblock "two kinds of checksum" 'two kinds' 40 00000018
superblock "two users" 'serves 2' 64 00000002

# ---- checksums ----

spoilt() { # NAME BLOCK PATTERN
    from sums
    poke "$(journal sums "$2" 1000)" 5a5a
    refused "$1" "$3"
}
spoilt "a journal superblock with a wrong checksum" 0 'superblock: its checksum'
spoilt "a descriptor block with a wrong checksum" 1 'checksum of transaction 1'
spoilt "a commit block with a wrong checksum" 3 'checksum of transaction 1'
spoilt "a revoke block with a wrong checksum" 4 'checksum of transaction 2'
from sums clean
request case.img 'jo -c -v 3' "jw -b $(ask sums.clean 'bmap file4 3') data" jc
poke "$(journal sums 2 1000)" 5a5a
refused "a copy with a wrong checksum" 'checksum of block'

# ---- what it replaces ----

from ext3 clean
request case.img jo 'jw -b 1 zeros' jc
refused "zeros in place of the superblock" 'no ext superblock'
from ext3 clean
dd if=case.img of=super bs=1024 skip=1 count=1 status=none
printf '\0' | dd of=super bs=1 seek=92 conv=notrunc status=none
request case.img jo 'jw -b 1 super' jc
refused "a superblock without a journal" 'replaced itself'
from ext3 clean
request case.img jo "jw -b $(ask ext3.clean 'imap <8>' | sed -n 's/.*located at block \([0-9]*\).*/\1/p') zeros" jc
refused "zeros in place of the inodes" "nothing's"

# ---- the journal's inode ----

from ext3
request case.img 'sif <8> block[3] 0' 'ssv jnl_backup_type 0'
refused "a journal with a hole" 'block 3 of the journal has no place'
from ext3
request case.img 'sif <8> size 4096' 'ssv jnl_backup_type 0'
refused "a journal of 4 blocks" 'has 4 blocks'
from ext3
request case.img 'sif <8> block[3] 99999999' 'ssv jnl_backup_type 0'
refused "a journal outside the file system" 'block 99999999 is outside'
from ext3
request case.img "sif <8> block[3] $(($(journal ext3 1) / 1024))" 'ssv jnl_backup_type 0'
refused "a journal with a block twice" 'block [0-9]+ twice'
from ext3
request case.img 'ssv journal_inum 2'
refused "a journal that is the root folder" 'the journal is inode 2'
from ext3
request case.img 'feature ^has_journal'
refused "recovery without a journal" 'there is no journal'
from ext3
request case.img 'feature ^needs_recovery'
refused "transactions without recovery" 'needs_recovery is not set'

# ---- orphans ----

orphans() { # NAME PATTERN BASE REQUEST...
    from "$3" clean
    request case.img "${@:4}"
    refused "$1" "$2"
}
one=$(inode_of ext3 file1) two=$(inode_of ext3 file2) three=$(inode_of ext3 file3)
orphans "an orphan list that is a loop" "has inode $one twice" ext3 "ssv last_orphan $one" \
    "sif file1 dtime @$two" "sif file2 dtime @$three" "sif file3 dtime @$one"
orphans "an orphan that follows itself" "has inode $two twice" ext3 "ssv last_orphan $two" "sif file2 dtime @$two"
orphans "the root folder as an orphan" 'has inode 2' ext3 'ssv last_orphan 2'
orphans "the journal as an orphan" 'has inode 8' ext3 'ssv last_orphan 8'
orphans "an orphan outside the file system" 'has inode 99999' ext3 'ssv last_orphan 99999'
orphans "an orphan that is followed by nonsense" 'has inode 4000000' ext3 "ssv last_orphan $one" 'sif file1 dtime @4000000'
orphans "an orphan that is free" 'inode 60 is marked free' ext3 'ssv last_orphan 60'
orphans "an orphan with a block outside" 'block 99999999 is outside' ext3 "ssv last_orphan $one" \
    'sif file1 block[1] 99999999' 'sif file1 links_count 0'
orphans "an orphan with a block of the inode table" "the file system's own" ext3 "ssv last_orphan $one" \
    "sif file1 block[1] $(ask ext3.clean 'imap <2>' | sed -n 's/.*located at block \([0-9]*\).*/\1/p')" 'sif file1 size 0'
orphans "an orphan with a block of the journal" 'has another owner' ext3 "ssv last_orphan $one" \
    "sif file1 block[1] $(($(journal ext3 9) / 1024))" 'sif file1 links_count 0'
orphans "two orphans with one block" 'has another owner' ext3 "ssv last_orphan $one" "sif file1 dtime @$two" \
    "sif file1 block[1] $(ask ext3.clean 'bmap file2 0')" 'sif file1 size 0'
orphans "an orphan with a block twice" 'has another owner' ext3 "ssv last_orphan $one" \
    "sif file1 block[1] $(ask ext3.clean 'bmap file1 0')" 'sif file1 size 0'
orphans "an orphan with a free block" 'is marked free' ext3 "ssv last_orphan $one" \
    'sif file1 block[1] 8000' 'sif file1 size 0'
orphans "an orphan with attributes outside" 'attribute block' ext3 "ssv last_orphan $one" \
    'sif file1 file_acl 7777777' 'sif file1 links_count 0'

orphan_file=$(dumpe2fs -h ext4.clean 2>/dev/null | sed -n 's/^Orphan file inode: *//p')
orphan_block=$(ask ext4.clean "bmap <$orphan_file> 0")
from ext4 clean
request case.img 'feature orphan_present'
poke $((orphan_block * 1024 + 1016)) 00000000
refused "an orphan file that is none" 'is none of an orphan file'
from ext4 clean
request case.img 'feature orphan_present'
poke $((orphan_block * 1024 + 8)) 08000000
refused "the journal in the orphan file" 'has inode 8'
from ext4 clean
request case.img 'feature orphan_present'
poke $((orphan_block * 1024 + 8)) "$(printf '%02x000000' "$orphan_file")"
refused "the orphan file in the orphan file" "the file system's own"
from ext4 clean
request case.img 'feature orphan_present' "sif <$orphan_file> size 1000"
refused "an orphan file that is no whole blocks" 'no plain file of whole blocks'

done_testing
