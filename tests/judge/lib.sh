# Looking at disk images with other people's tools, for tests that judge ours.
# Nothing here uses chrimg.
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# little_endian FILE OFFSET BYTES: the number there.
little_endian() {
    od -An -v -t "u$3" -j "$2" -N "$3" --endian=little "$1" | tr -d ' '
}

# Partition N (1 or 2) by its MBR entry, which every stand-in has and nobody changes.
partition_start() { # IMAGE N, in sectors
    little_endian "$1" $((446 + 16 * ($2 - 1) + 8)) 4
}
partition_sectors() {
    little_endian "$1" $((446 + 16 * ($2 - 1) + 12)) 4
}

# partition IMAGE N OUT: a copy of the partition.
partition() {
    dd if="$1" of="$3" bs=1M iflag=skip_bytes,count_bytes conv=sparse status=none \
        skip=$(($(partition_start "$1" "$2") * 512)) count=$(($(partition_sectors "$1" "$2") * 512))
    # What ends in zeros is not written by conv=sparse.
    truncate -s $(($(partition_sectors "$1" "$2") * 512)) "$3"
}

# Of all that there is, the fastest here that is no toy.
checksum() {
    b2sum "$1" | cut -d' ' -f1
}

allocated_kib() {
    du -k "$1" | cut -f1
}

# ext_dump PARTITION FOLDER: all files of an ext file system, by debugfs.
# An empty lost+found is not a file anybody put there.
ext_dump() {
    local complaints
    mkdir -p "$2"
    complaints=$(debugfs -R "rdump / $2" "$1" 2>&1 | grep -v '^debugfs [0-9]')
    rmdir "$2/lost+found" 2>/dev/null
    if [ -n "$complaints" ]; then
        echo "$complaints" >&2
        return 1
    fi
}

# mtools shows two _ for a character outside of Unicode's first plane.
mtools_name() {
    # shellcheck disable=SC2001 # bytes, not characters
    LC_ALL=C sed 's/[\xf0-\xf7][\x80-\xbf]\{3\}/__/g' <<<"$1"
}

# fat_dump PARTITION FOLDER: all files of a FAT file system, by mtools.
fat_dump() {
    mkdir -p "$2"
    MTOOLS_SKIP_CHECK=1 mcopy -s -n -Q -i "$1" '::/*' "$2/"
}

# ext_sectors PARTITION PATH: the file's data sectors in order, one a line, counted
# from the start of the partition; "hole" for what has no block.  A block that is
# allocated and unwritten counts as a hole.
ext_sectors() {
    local size block_size
    size=$(debugfs -R "stat \"$2\"" "$1" 2>/dev/null | sed -n 's/.*Size: *\([0-9]*\).*/\1/p' | head -n 1)
    block_size=$(dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Block size: *//p')
    debugfs -R "stat \"$2\"" "$1" 2>/dev/null |
        sed -n '/^\(BLOCKS\|EXTENTS\):/,$p' | tr ',' '\n' |
        awk -v size="$size" -v per_block=$((block_size / 512)) '
        # (0-11):128-139 or (12):140; (IND), (ETB0) and the like are no data.
        match($0, /\([0-9]+(-[0-9]+)?(\[u\])?\):[0-9]+/) {
            text = substr($0, RSTART)
            split(text, half, "):")
            from = half[1]
            sub(/^\(/, "", from)
            if (from ~ /\[u\]/) next
            count = split(from, logical, "-")
            split(half[2], physical, "-")
            last = count == 2 ? logical[2] : logical[1]
            for (i = 0; i <= last - logical[1]; i++)
                place[logical[1] + i] = physical[1] + i
        }
        END {
            for (s = 0; s * 512 < size; s++) {
                block = int(s / per_block)
                print (block in place) ? place[block] * per_block + s % per_block : "hole"
            }
        }'
}

# The first data sector of a FAT12/16, and the sectors of a cluster.
fat_data_start() {
    echo $(($(little_endian "$1" 14 2) + $(little_endian "$1" 16 1) * $(little_endian "$1" 22 2) + \
        $(little_endian "$1" 17 2) / 16))
}
fat_cluster_sectors() {
    little_endian "$1" 13 1
}

# fat_sectors PARTITION PATH [SIZE]: the same for a file on FAT, by its chain.  Without
# SIZE all sectors of the chain: for folders.
fat_sectors() {
    local pattern
    pattern=$(mtools_name "$2")
    # It does not find by the name that it shows, but by a pattern for it.
    mshowfat -i "$1" "::/${pattern//__/??}" | grep -o '<[0-9-]*>' | tr -d '<>' |
        awk -v size="${3:-}" -v start="$(fat_data_start "$1")" \
            -v per_cluster="$(fat_cluster_sectors "$1")" '
        {
            count = split($0, cluster, "-")
            for (c = cluster[1]; c <= cluster[count]; c++)
                for (s = 0; s < per_cluster; s++)
                    if (size == "" || n++ * 512 < size)
                        print start + (c - 2) * per_cluster + s
        }'
}
