#!/usr/bin/env bash
# qcow2 images that lie, on the command line: each is refused, or read, with its defect
# named; never a crash, a hang, or much memory.  The unit test has many more of them.
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool qemu-img qemu-io

SECONDS_ALLOWED=20
KIB_ALLOWED=409600

# limited COMMAND...: within limits of time and address space.
limited() (
    if ! under_sanitizer "$CHRIMG"; then ulimit -v $KIB_ALLOWED; fi
    exec timeout "$SECONDS_ALLOWED" "$@"
)

# refused_by NAME STATUS PATTERN COMMAND...: a message in one line that matches, and
# neither output nor anything else is left.
refused_by() {
    local name=$1 wanted=$2 pattern=$3 before status reason=
    shift 3
    before=$(state_here)
    output=$(limited "$@" 2>&1)
    status=$?
    case $status in
    124) reason="it hangs" ;;
    86) reason="a sanitizer stopped it" ;;
    126 | 127 | 128 | 129 | 1[3-9]?) reason="it crashes (status $status)" ;;
    "$wanted") ;;
    *) reason="exit status $status, wanted $wanted" ;;
    esac
    grep -qE -- "$pattern" <<<"$output" || reason+="; nothing matches /$pattern/"
    if [ "$(grep -c '^chrimg: ' <<<"$output")" != 1 ]; then reason+="; not one message"; fi
    if LC_ALL=C grep -q $'[\001-\010\013-\037\177]' <<<"$output"; then reason+="; control characters"; fi
    if [ "$(state_here)" != "$before" ]; then reason+="; something was written"; fi
    if [ -z "$reason" ]; then
        ok "$name"
    else
        not_ok "$name" "$reason" "$*"
        diag "$(head -c 2000 <<<"$output")"
    fi
}

# Every command that opens an image, on case.qcow2.
refused_everywhere() { # NAME STATUS PATTERN
    refused_by "$1: info" "$2" "$3" "$CHRIMG" info case.qcow2
    refused_by "$1: convert" "$2" "$3" "$CHRIMG" convert case.qcow2 never.raw
    refused_by "$1: fatten" "$2" "$3" "$CHRIMG" fatten case.qcow2 -o never.img
    refused_by "$1: fatten --in-place" "$2" "$3" "$CHRIMG" fatten --in-place case.qcow2
    refused_by "$1: extract" "$2" "$3" "$CHRIMG" extract case.qcow2 -o never
    refused_by "$1: check" "$2" "$3" "$CHRIMG" check case.qcow2
    refused_by "$1: check --repair all" "$2" "$3" "$CHRIMG" check --repair all case.qcow2
    refused_by "$1: snapshot -l" "$2" "$3" "$CHRIMG" snapshot -l case.qcow2
    refused_by "$1: snapshot -c" "$2" "$3" "$CHRIMG" snapshot -c new case.qcow2
    refused_by "$1: IMG@TAG" "$2" "$3" "$CHRIMG" info case.qcow2@tag
}

# hostile NAME STATUS PATTERN FIELD=VALUE...: good.qcow2 with these header fields.
hostile() {
    local name=$1 status=$2 pattern=$3 change
    shift 3
    cp good.qcow2 case.qcow2
    for change; do put_header case.qcow2 "${change%%=*}" "${change#*=}"; done
    if cmp -s good.qcow2 case.qcow2; then
        not_ok "$name: the image differs from the good one"
        return
    fi
    refused_everywhere "$name" "$status" "$pattern"
}

"$MKCHR" 7.19 chr.img
qemu-img convert -f raw -O qcow2 -c chr.img good.qcow2
qemu-img snapshot -c tag good.qcow2
good=$(checksum good.qcow2)
for arguments in "info good.qcow2" "info good.qcow2@tag" "check good.qcow2" "snapshot -l good.qcow2" \
    "convert good.qcow2 good.raw" "fatten good.qcow2 -o good.img"; do
    # shellcheck disable=SC2086 # words
    check "the good image, within the limits: $arguments" limited "$CHRIMG" $arguments
done
check "the good image is read as it is" cmp good.raw chr.img

# ---- the header ----

hostile "version 4" 1 'version 4 is not supported' version=4
hostile "clusters of 256 bytes" 3 'cluster bits are 8' cluster_bits=8
hostile "clusters of 2 GiB" 3 'cluster bits are 31' cluster_bits=31
hostile "clusters of 2^4294967295 bytes" 3 'cluster bits are 4294967295' cluster_bits=4294967295
hostile "encrypted" 1 'encrypted \(LUKS\)' crypt_method=2
hostile "a disk of 8 EiB" 3 'virtual size' size=-512
hostile "a disk of 4 EiB" 3 'virtual size' size=$((1 << 62))
hostile "an L1 table of 4 Gi entries" 3 'L1 table has .* bytes, more than' l1_size=-1
hostile "an L1 table that is too short" 3 'too few for a disk' l1_size=0
hostile "an L1 table outside of the file" 3 'L1 table .* outside the file' l1_table_offset=$((1 << 50))
hostile "an L1 table between clusters" 3 'L1 table is at offset .*, not on a cluster' \
    l1_table_offset=$((65536 * 3 + 8))
hostile "an L1 table whose end overflows" 3 'L1 table .* outside the file' l1_table_offset=-65536
hostile "no refcount table" 3 'no refcount table' refcount_table_clusters=0
hostile "a refcount table of 256 TiB" 3 'refcount table has .* bytes, more than' \
    refcount_table_clusters=-1
hostile "a refcount table outside of the file" 3 'refcount table .* outside the file' \
    refcount_table_offset=$((1 << 40))
hostile "refcounts of 2^7 bits" 3 'refcount order is 7' refcount_order=7
hostile "4 Gi snapshots" 3 'snapshots, more than 65536' nb_snapshots=-1
hostile "snapshots outside of the file" 3 'snapshot table .* outside the file' \
    snapshots_offset=$((1 << 45))
hostile "a header of 4 GiB" 3 'header says it is 4294967288 bytes' header_length=-8
hostile "a header of 8 bytes" 3 'header says it is 8 bytes' header_length=8
hostile "an unknown feature" 1 'incompatible feature bit 40' incompatible_features=$((1 << 40))
hostile "extended L2 entries" 1 'extended L2 entries' incompatible_features=16
hostile "an external data file" 1 'external data file' incompatible_features=4
hostile "an unknown compression" 1 'compression type 7' compression_type=7 incompatible_features=8
hostile "compression without its mark" 3 'contradicts feature bit 3' compression_type=1
hostile "a backing file's name of 4 GiB" 3 "backing file's name has 4294967295 bytes" \
    backing_file_offset=512 backing_file_size=-1
hostile "a backing file's name outside" 3 'not within the first cluster' \
    backing_file_offset=$((1 << 40)) backing_file_size=10

# ---- the tables ----

# table NAME STATUS PATTERN OFFSET BYTES VALUE: reading the disk finds it.
table() {
    cp good.qcow2 case.qcow2
    put_big_endian case.qcow2 "$4" "$5" "$6"
    refused_by "$1: convert" "$2" "$3" "$CHRIMG" convert case.qcow2 never.raw
    refused_by "$1: fatten" "$2" "$3" "$CHRIMG" fatten case.qcow2 -o never.qcow2
    refused_by "$1: snapshot -c" 3 'damaged, so it is not changed' "$CHRIMG" snapshot -c new case.qcow2
    refused_by "$1: fatten --in-place" 3 'damaged, so it is not changed|'"$3" \
        "$CHRIMG" fatten --in-place case.qcow2
    check_exit "$1: check" 3 'damaged' limited "$CHRIMG" check case.qcow2
}

L1=$(get_header good.qcow2 l1_table_offset)
L2=$(first_l2_entry good.qcow2)
SNAPSHOT=$(get_header good.qcow2 snapshots_offset)
COPIED=$((1 << 63))
table "an L2 table outside of the file" 3 'L2 table|L1 entry' "$L1" 8 $((COPIED | 1 << 45))
table "an L2 table between clusters" 3 'L2 table|L1 entry' "$L1" 8 $((COPIED | 65536 * 5 + 512))
table "a cluster outside of the file" 3 'past the end of the file' "$L2" 8 $((COPIED | 1 << 45))
table "a cluster between clusters" 3 'not on a cluster|cluster' "$L2" 8 $((COPIED | 65536 * 5 + 512))
table "a compressed cluster outside of the file" 3 'outside|behind|cluster' "$L2" 8 $((1 << 62 | 1 << 45))

# What a compressed cluster holds is no matter of the tables: only who reads it finds out.
cp good.qcow2 case.qcow2
put_big_endian case.qcow2 "$(($(big_endian good.qcow2 "$L2" 8) & 0x003fffffffffffff))" 4 -1
name="a compressed cluster that is no deflate"
refused_by "$name: info" 3 'compressed' "$CHRIMG" info case.qcow2
refused_by "$name: convert" 3 'compressed' "$CHRIMG" convert case.qcow2 never.raw
refused_by "$name: fatten" 3 'compressed' "$CHRIMG" fatten case.qcow2 -o never.qcow2
refused_by "$name: fatten --in-place" 3 'compressed' "$CHRIMG" fatten --in-place case.qcow2

# entry NAME PATTERN OFFSET BYTES VALUE: of the snapshot table, which is read on opening.
entry() {
    cp good.qcow2 case.qcow2
    put_big_endian case.qcow2 $((SNAPSHOT + $3)) "$4" "$5"
    refused_everywhere "a snapshot: $1" 3 "$2"
}
entry "its L1 table outside of the file" 'outside the file' 0 8 $((1 << 45))
entry "its L1 table of 4 Gi entries" 'L1 table has .* bytes' 8 4 -1
entry "a name of 64 KiB" 'snapshot' 14 2 -1
entry "an ID of 64 KiB" 'snapshot' 12 2 -1
entry "extra data of 4 GiB" 'extra data has 4294967295 bytes' 36 4 -1
entry "a disk of 8 EiB" 'disk size' 48 8 -512

# How many lines with control characters COMMAND prints about case.qcow2.
control_characters() {
    limited "$CHRIMG" "$@" case.qcow2 >printed 2>&1 || return 1
    LC_ALL=C grep -c $'[\001-\010\013-\037\177]' printed
    [ $? -eq 1 ]
}

# A tag that rings and clears the screen is printed without doing so.
cp good.qcow2 case.qcow2
printf '\a\033[' | dd of=case.qcow2 bs=1 seek=$((SNAPSHOT + 40 + 24 + 1)) conv=notrunc status=none 2>/dev/null
for command in "snapshot -l" info "snapshot --json"; do
    # shellcheck disable=SC2086
    check_exit "a tag that rings: $command" 0 '^0$' control_characters $command
done

# ---- the file itself ----

head -c 200 good.qcow2 >case.qcow2
refused_everywhere "200 bytes" 3 'outside the file|200 bytes'
head -c 71 good.qcow2 >case.qcow2
refused_everywhere "71 bytes" 3 '71 bytes has no qcow2 header'
head -c 8 good.qcow2 >case.qcow2
refused_everywhere "8 bytes" 3 '8 bytes'
head -c $((65536 * 3)) good.qcow2 >case.qcow2
refused_everywhere "cut after three clusters" 3 'outside the file'

# 200 bytes that say they are a disk of a petabyte.
qemu-img create -q -f qcow2 -o cluster_size=2M vast.qcow2 1P
check_exit "a petabyte of zeros: info" 3 'partition table' limited "$CHRIMG" info vast.qcow2
check_exit "a petabyte of zeros: check" 3 'partition table' limited "$CHRIMG" check vast.qcow2
check "a petabyte of zeros: convert" limited "$CHRIMG" convert --cluster-size 2M vast.qcow2 vast2.qcow2
check "a petabyte of zeros: sound" sound vast2.qcow2
check_exit "a petabyte of zeros: too much for small clusters" 2 'needs larger clusters' \
    limited "$CHRIMG" convert --cluster-size 512 vast.qcow2 vast3.qcow2

check_equal "the good image is as it was" "$(checksum good.qcow2)" "$good"
done_testing
