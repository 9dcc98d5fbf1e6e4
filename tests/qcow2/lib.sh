# qcow2 images in tests: asking qemu-img, and changing single fields.
# Nothing here uses chrimg.
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/../judge/lib.sh"

# Bytes of a field of the header, by the names of QEMU's docs/interop/qcow2.txt.
declare -A qcow2_field=(
    [magic]="0 4" [version]="4 4" [backing_file_offset]="8 8" [backing_file_size]="16 4"
    [cluster_bits]="20 4" [size]="24 8" [crypt_method]="32 4" [l1_size]="36 4"
    [l1_table_offset]="40 8" [refcount_table_offset]="48 8" [refcount_table_clusters]="56 4"
    [nb_snapshots]="60 4" [snapshots_offset]="64 8" [incompatible_features]="72 8"
    [compatible_features]="80 8" [autoclear_features]="88 8" [refcount_order]="96 4"
    [header_length]="100 4" [compression_type]="104 1"
)

# big_endian FILE OFFSET BYTES: the number there; 8 bytes as a signed one.
big_endian() {
    od -An -v -t "d$3" -j "$2" -N "$3" --endian=big "$1" | tr -d ' '
}

# put_big_endian FILE OFFSET BYTES VALUE
put_big_endian() {
    local digits text='' i
    digits=$(printf "%0$(($3 * 2))x" "$4")
    digits=${digits: -$(($3 * 2))}
    for ((i = 0; i < ${#digits}; i += 2)); do text+="\\x${digits:i:2}"; done
    printf '%b' "$text" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

get_header() { # FILE FIELD
    # shellcheck disable=SC2086 # offset and width
    big_endian "$1" ${qcow2_field[$2]}
}
put_header() { # FILE FIELD VALUE
    # shellcheck disable=SC2086
    put_big_endian "$1" ${qcow2_field[$2]} "$3"
}

# An L1, L2 or refcount table entry without its flags.
entry_offset() { # FILE OFFSET
    echo $(($(big_endian "$1" "$2" 8) & 0x00fffffffffffe00))
}

# Where the L2 entry of guest cluster 0 is.
first_l2_entry() {
    entry_offset "$1" "$(get_header "$1" l1_table_offset)"
}

# Where the refcount of cluster INDEX is; for refcounts of 16 bits and one refcount block.
refcount_place() { # FILE INDEX
    echo $(($(entry_offset "$1" "$(get_header "$1" refcount_table_offset)") + 2 * $2))
}

# qemu-img finds neither errors nor leaks.
sound() {
    local output
    output=$(qemu-img check -f qcow2 "$1" 2>&1) && return 0
    echo "$output"
    return 1
}

# Neither errors; there may be leaks, which qemu-img reports with 3.
not_corrupt() {
    local output status
    output=$(qemu-img check -f qcow2 "$1" 2>&1)
    status=$?
    if [ $status -eq 0 ] || [ $status -eq 3 ]; then return 0; fi
    echo "$output"
    return 1
}

# raw_by_qemu QCOW2 OUT [TAG]: what QEMU reads from it.
raw_by_qemu() {
    if [ $# -eq 3 ]; then
        qemu-img convert -f qcow2 -O raw -l "snapshot.name=$3" "$1" "$2"
    else
        qemu-img convert -f qcow2 -O raw "$1" "$2"
    fi
}

# Names of the snapshots, one a line, in the order of the table.
tags_by_qemu() {
    qemu-img info -f qcow2 --output json "$1" | jq -r '.snapshots // [] | .[].name'
}

# mixed_content FILE BYTES: text, random bytes, zeros and holes in turns; the same each time.
# Pieces are no multiple of a cluster, so that clusters are mixed as well.
mixed_content() {
    local at=0 turn=0 length
    truncate -s "$2" "$1"
    while ((at < $2)); do
        length=$((70000 + turn * 1234))
        if ((length > $2 - at)); then length=$(($2 - at)); fi
        case $((turn % 5)) in
        0) yes "line of piece $turn" | head -c "$length" ;;
        1) stream "$turn" | head -c "$length" ;;
        2) head -c "$length" /dev/zero ;;
        3) yes "$turn" | head -c $((length / 3)) ;;
        4) : ;;
        esac | dd of="$1" bs=64k oflag=seek_bytes iflag=fullblock seek="$at" conv=notrunc status=none
        at=$((at + length))
        turn=$((turn + 1))
    done
}

# Bytes that do not compress, some 160000 of them, by number.
stream() {
    seq "${1}000000" 3 "${1}300000" | gzip -9n
}

# What stands in the folder, to see that nothing was left or changed: a write to a file
# would show in its times.
state_here() {
    find . -mindepth 1 -maxdepth 1 -printf '%f %s bytes, inode %i, %T@, %C@\n' | LC_ALL=C sort
}
names_here() {
    find . -mindepth 1 -maxdepth 1 -printf '%f\n' | LC_ALL=C sort | tr '\n' ' '
}
