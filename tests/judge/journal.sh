#!/usr/bin/env bash
# Journals that debugfs has written, replayed by us and by e2fsck: the same blocks, the
# same files, and e2fsck has nothing to say afterwards.  Orphans likewise.
# shellcheck disable=SC2034,SC2317 # IN_MEMORY is read by lib.sh; functions are called through check
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../ext/lib.sh"
needs_tool mke2fs e2fsck debugfs dumpe2fs

REPLAY=$BUILD/tests/ext/replay

# debugfs REQUESTS, one a line, on an image; what it answers is kept for whoever reads a failure.
change() { # IMAGE
    debugfs -w -f - "$1" >>debugfs.log 2>&1
}

# ---- file systems in three generations ----

mkdir -p tree/folder
for i in 1 2 3 4 5 6; do yes "file $i" | head -c $((i * 9000)) >"tree/file$i"; done
for i in $(seq 40); do echo "$i" >"tree/folder/name$i"; done
ln -s folder/name1 tree/symlink
# A block that begins with the journal's magic number is escaped.
{ printf '\xc0\x3b\x39\x98'; head -c 9000 /dev/zero | tr '\0' m; } >magic
yes more | head -c 30000 >added

make_generations() { # NAME MKE2FS-OPTION...
    local name=$1
    shift
    mke2fs -q -F -L "$name" -U 00000000-0000-4000-8000-00000000000a -d tree "$@" base.img 24M || return
    cp base.img first.img
    printf 'write magic folder/magic\nwrite added added\nrm file2\nmkdir new\nwrite added new/other\n' |
        change first.img
    cp first.img second.img
    printf 'rm folder/name7\nunlink folder/name8\nln /file3 /hard\nsif /file3 links_count 2\nrm added\n' |
        change second.img
    printf 'write magic third\nln <14> /folder/again\nsif <14> links_count 2\nset_inode_field file1 mode 0100600\n' |
        change second.img
    e2fsck -fy second.img >/dev/null 2>&1
    is_clean second.img
}

block_size() { dumpe2fs -h base.img 2>/dev/null | sed -n 's/^Block size: *//p'; }

# The blocks in which two images differ; WITHOUT: no superblock among them.
differing() { # OLD NEW [WITHOUT]
    local size
    size=$(block_size)
    cmp -l "$1" "$2" | awk -v size="$size" -v super="$((1024 / size))" -v without="${3:-}" '
        { block = int(($1 - 1) / size) }
        block in seen { next }
        { seen[block] = 1 }
        without == "" || block != super { print block }'
}

# The given blocks of an image, one behind the other.
blocks_of() { # IMAGE BLOCK...
    local image=$1 size block
    size=$(block_size)
    shift
    for block; do dd if="$image" bs="$size" skip="$block" count=1 status=none; done
}

# Transactions in the journal of dirty.img, made of base.img: what is new in first.img and
# trash to two blocks of file5; a revoke of both; what is new in second.img, and one of the
# two in its right form; and trash without a commit block.
# With checksum v1 there is no revoke, and the other block is written right as well: debugfs
# sums revoke blocks up in the commit block, jbd2 and e2fsck do not.
make_dirty() { # JOURNAL-OPTIONS [WITHOUT]
    local one two keep again size revoke
    size=$(block_size)
    mapfile -t one < <(differing base.img first.img "${2:-}")
    mapfile -t two < <(differing first.img second.img "${2:-}")
    keep=$(debugfs -R 'bmap file5 2' base.img 2>/dev/null)
    again=$(debugfs -R 'bmap file5 4' base.img 2>/dev/null)
    [ ${#one[@]} -gt 3 ] && [ ${#two[@]} -gt 3 ] && [ "$keep" -gt 0 ] && [ "$again" -gt 0 ] || return
    { blocks_of first.img "${one[@]}"; head -c $((2 * size)) /dev/zero | tr '\0' T; } >first.data
    revoke="jw -r $keep,$again"
    two+=("$again")
    if [[ $1 == *'-v 1'* ]]; then
        revoke=
        two+=("$keep")
    fi
    blocks_of second.img "${two[@]}" >second.data
    cp base.img dirty.img
    printf 'jo %s\njw -b %s first.data\n%s\njw -b %s second.data\njw -b %s first.data -c\njc\n' "$1" \
        "$(IFS=,; echo "${one[*]},$keep,$again")" "$revoke" "$(IFS=,; echo "${two[*]}")" \
        "$(IFS=,; echo "${one[*]},$keep,$again")" | change dirty.img
    dumpe2fs -h dirty.img 2>/dev/null | grep -q needs_recovery
}

replays_all() { # IMAGE JOURNAL-OPTIONS
    local wanted='^transactions 3 .* revoked 2 orphans 0 '
    [[ ${2:-} != *'-v 1'* ]] || wanted='^transactions 2 .* revoked 0 orphans 0 '
    if ! "$REPLAY" "$1" >replay.out || ! grep -q "$wanted" replay.out; then
        cat replay.out
        return 1
    fi
}

nothing_left() { # IMAGE: the journal is empty, and a second run does nothing
    dumpe2fs -h "$1" 2>/dev/null | grep -q '^Journal start: *0$' &&
        ! dumpe2fs -h "$1" 2>/dev/null | grep -q needs_recovery &&
        "$REPLAY" "$1" | grep -qx 'transactions 0 blocks 0 revoked 0 orphans 0 changed 0'
}

judge() { # NAME JOURNAL-OPTIONS WITHOUT MKE2FS-OPTION...
    local name=$1 options=$2 without=$3
    shift 3
    check "$name: three generations" make_generations "${name:0:16}" "$@"
    check "$name: debugfs writes the journal" make_dirty "$options" "$without"
    cp dirty.img ours.img
    cp dirty.img theirs.img
    cp dirty.img checked.img
    check "$name: our replay" replays_all ours.img "$options"
    check "$name: e2fsck -fn is clean" is_clean ours.img
    check "$name: e2fsck replays the same blocks" e2fsck_replays theirs.img -y -E journal_only
    check "$name: all blocks are the same" same_blocks ours.img theirs.img
    check "$name: e2fsck -fy replays" e2fsck_replays checked.img -fy
    check "$name: the files are the same" same_files ours.img checked.img
    check "$name: they are those of the last transaction" same_files ours.img second.img
    check "$name: nothing is left to do" nothing_left ours.img
}

judge ext3-1k '' '' -t ext3 -b 1024 -J size=1
judge ext3-4k '' without -t ext3 -b 4096 -J size=4
judge ext3-v1 '-c -v 1' without -t ext3 -b 1024 -J size=2
judge ext4-1k-64bit-v3 '-c -v 3' '' -t ext4 -b 1024 -O 64bit,metadata_csum -J size=1
judge ext4-4k-64bit-v3 '-c -v 3' without -t ext4 -b 4096 -O 64bit,metadata_csum -J size=4
judge ext4-4k-32bit-v2 '-c -v 2' without -t ext4 -b 4096 -O ^64bit,metadata_csum -J size=4
judge ext4-2k-64bit-v2 '-c -v 2' '' -t ext4 -b 2048 -O 64bit,metadata_csum -J size=2
judge ext4-4k-32bit '' '' -t ext4 -b 4096 -O ^64bit,^metadata_csum,uninit_bg -J size=4
judge ext4-fast-commit '-c -v 3' without -t ext4 -b 1024 -O fast_commit -J size=4
judge ext4-2k-orphan-file '' '' -t ext4 -b 2048 -O ^metadata_csum,^64bit,orphan_file -J size=4

# ---- a journal whose inode is lost ----

loses_its_inode() { # the copy in the superblock is all that is left
    make_generations lost -t "$1" -b 1024 -J size=1 && make_dirty '' without || return
    printf 'clri <8>\n' | change dirty.img
    ! is_clean dirty.img >/dev/null
}
replays_lost() {
    cp dirty.img ours.img && replays_all ours.img && is_clean ours.img && same_files ours.img second.img
}
for kind in ext3 ext4; do
    check "$kind: a journal without its inode" loses_its_inode $kind
    check "$kind: replayed from the copy in the superblock" replays_lost
done

# ---- orphans ----

inode_of() { # IMAGE PATH
    debugfs -R "stat $2" "$1" 2>/dev/null | sed -n 's/^Inode: *\([0-9]*\).*/\1/p'
}

# file2 and a folder are deleted but open; file6 is being cut to 20000 bytes, file5 to 0; a symbolic
# link with a block of its own goes too.  The name goes, the inode stays: unlink.
orphan_requests() { # prints requests; the inodes are left in the array $orphans
    local file2 file5 file6 empty link
    file2=$(inode_of base.img file2) file5=$(inode_of base.img file5) file6=$(inode_of base.img file6)
    empty=$(inode_of base.img empty) link=$(inode_of base.img long)
    orphans=("$file2" "$file6" "$file5" "$empty" "$link")
    printf 'unlink file2\nsif <%s> links_count 0\nunlink empty\nsif <%s> links_count 0\n' "$file2" "$empty"
    printf 'unlink long\nsif <%s> links_count 0\nsif <2> links_count 4\n' "$link"
    printf 'sif <%s> size 20000\nsif <%s> size 0\n' "$file6" "$file5"
}

make_orphans() { # list|file MKE2FS-OPTION...
    local way=$1 i block
    shift
    mkdir -p tree/empty
    ln -sfn "$(head -c 200 /dev/zero | tr '\0' l)" tree/long
    mke2fs -q -F -d tree "$@" base.img 24M || return
    rm -r tree/empty tree/long
    printf 'ea_set -f magic file2 user.note\n' | change base.img
    orphan_requests >requests
    if [ "$way" = list ]; then
        printf 'ssv last_orphan %s\n' "${orphans[0]}" >>requests
        for ((i = 1; i < ${#orphans[@]}; i++)); do
            printf 'sif <%s> dtime @%s\n' "${orphans[i - 1]}" "${orphans[i]}"
        done >>requests
    else
        printf 'feature orphan_present\n' >>requests
    fi
    change base.img <requests
    if [ "$way" = file ]; then
        i=$(dumpe2fs -h base.img 2>/dev/null | sed -n 's/^Orphan file inode: *//p')
        block=$(debugfs -R "bmap <$i> 1" base.img 2>/dev/null)
        for i in "${!orphans[@]}"; do
            # shellcheck disable=SC2059 # the bytes are the format
            printf "$(printf '\\x%02x\\x%02x' $((orphans[i] % 256)) $((orphans[i] / 256)))" |
                dd of=base.img bs=1 seek=$((block * $(block_size) + 4 * (i + 7))) conv=notrunc status=none
        done
    fi
    ! is_clean base.img >/dev/null
}

works_off() {
    cp base.img ours.img
    if ! "$REPLAY" ours.img >replay.out || ! grep -q "orphans ${#orphans[@]} " replay.out; then
        cat replay.out
        return 1
    fi
    is_clean ours.img
}

free_counts() { # IMAGE
    dumpe2fs "$1" 2>/dev/null | grep -E '^(Free (blocks|inodes)|First orphan)|^  [0-9]+ free blocks|^  Free blocks'
}

agrees_with_e2fsck() {
    cp base.img checked.img && e2fsck_replays checked.img -fy && same_files ours.img checked.img || return
    diff <(free_counts ours.img) <(free_counts checked.img)
}

judge_orphans() { # NAME list|file MKE2FS-OPTION...
    local name=$1
    shift
    check "$name: orphans" make_orphans "$@"
    orphan_requests >/dev/null
    check "$name: worked off" works_off
    check "$name: as e2fsck does" agrees_with_e2fsck
    check "$name: nothing is left to do" nothing_left ours.img
}
judge_orphans ext3-1k-list list -t ext3 -b 1024
judge_orphans ext3-4k-list list -t ext3 -b 4096
judge_orphans ext4-1k-list list -t ext4 -b 1024
judge_orphans ext4-4k-list list -t ext4 -b 4096
judge_orphans ext4-file file -t ext4 -b 1024 -O orphan_file,^metadata_csum,uninit_bg

done_testing
