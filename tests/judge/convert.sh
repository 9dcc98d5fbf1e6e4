#!/usr/bin/env bash
# chrimg convert and fatten -o *.qcow2, judged by qemu-img both ways: what qemu-img
# makes is read as qemu-img reads it, what chrimg makes passes qemu-img's checks.
IN_MEMORY=yes
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool qemu-img qemu-io jq zip gzip

CLUSTER_SIZES=(512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M)
# Not a multiple of any cluster, and two L2 tables where clusters are small.
DISK_BYTES=$((5 * 1024 * 1024 + 3 * 512))

convert() {
    "$CHRIMG" convert "$@"
}

# ---- what qemu-img makes is read identically ----

# Both readers' raw images of FILE are equal, to the last byte.
read_alike() {
    rm -f qemu.raw ours.raw
    qemu-img convert -O raw "$1" qemu.raw && convert "$1" ours.raw && cmp qemu.raw ours.raw
}

# Clusters of every kind: written over, zeroed, discarded, half a cluster.
scribble() {
    qemu-io -f qcow2 -d unmap -c 'write -P 7 100k 30k' -c 'write -z 1M 128k' -c 'discard 2M 2M' \
        -c 'write -P 9 4194304 512' -c 'write -z 4259840 1k' "$1"
}

# chrimg counts no leaks and no errors in it.
counts_right() {
    # Status 3: there is no partition table in it.
    "$CHRIMG" check --json "$1" >report
    [ $? -eq 3 ] && jq -e '[.leaks, .corruptions] == [0, 0]' report
}

written_to() {
    scribble "$1" && read_alike "$1" && counts_right "$1"
}

# by_qemu NAME OPTIONS [-c]: an image of content.raw with these -o OPTIONS, read before
# and after it was written to.
by_qemu() {
    local name="by qemu-img: $1" options=$2
    shift 2
    rm -f qemu.qcow2
    if ! qemu-img convert -f raw -O qcow2 -o "$options" "$@" content.raw qemu.qcow2 2>error; then
        not_ok "$name" "qemu-img cannot make it: $(cat error)"
        return
    fi
    check "$name" read_alike qemu.qcow2
    check "$name: written to" written_to qemu.qcow2
}

read_what_qemu_makes() {
    local size bits mode
    for size in "${CLUSTER_SIZES[@]}"; do
        by_qemu "version 2, clusters of $size" "compat=0.10,cluster_size=$size"
        by_qemu "version 2, clusters of $size, zlib" "compat=0.10,cluster_size=$size" -c
        by_qemu "version 3, clusters of $size" "compat=1.1,cluster_size=$size"
        by_qemu "version 3, clusters of $size, zlib" "compat=1.1,cluster_size=$size" -c
        by_qemu "version 3, clusters of $size, zstd" \
            "compat=1.1,cluster_size=$size,compression_type=zstd" -c
    done
    for bits in 1 2 4 8 16 32 64; do
        by_qemu "refcounts of $bits bits" "refcount_bits=$bits"
        by_qemu "refcounts of $bits bits, clusters of 512" "refcount_bits=$bits,cluster_size=512" -c
    done
    for mode in off metadata falloc full; do
        by_qemu "preallocation $mode" "preallocation=$mode"
        by_qemu "preallocation $mode, version 2" "preallocation=$mode,compat=0.10"
        by_qemu "preallocation $mode, clusters of 4k" "preallocation=$mode,cluster_size=4k"
    done
    by_qemu "lazy refcounts" "lazy_refcounts=on"
    by_qemu "lazy refcounts, clusters of 4k" "lazy_refcounts=on,cluster_size=4k"
}

# A VM that was killed leaves the mark "dirty"; reading does not need the refcounts.
lazy_and_killed() {
    rm -f dirty.qcow2
    qemu-img create -q -f qcow2 -o lazy_refcounts=on dirty.qcow2 4M
    # sigraise ends qemu-io in the middle.
    qemu-io -f qcow2 -c 'write -P 5 0 300k' -c 'sigraise 9' dirty.qcow2 >/dev/null 2>&1
    [ $(($(get_header dirty.qcow2 incompatible_features) & 1)) -eq 1 ] || { echo "not dirty"; return 1; }
    cp dirty.qcow2 before.qcow2
    convert dirty.qcow2 dirty.raw && cmp dirty.qcow2 before.qcow2 && read_alike before.qcow2 &&
        cmp dirty.raw qemu.raw
}

# ---- backing files ----

# backed NAME FORMAT BACKING SIZE: an overlay over BACKING, with some of it written over.
backed() {
    local file=sub/overlay.qcow2
    rm -rf sub
    mkdir sub
    check "backing file: $1: qemu-img makes it" \
        qemu-img create -q -f qcow2 -F "$2" -b "$3" $file ${4:+"$4"}
    qemu-io -f qcow2 -c 'write -P 3 64k 100k' -c 'write -z 512k 64k' $file >/dev/null
    check "backing file: $1" read_alike $file
}

backing_files() {
    qemu-img convert -O qcow2 -c -o cluster_size=4k content.raw base.qcow2
    qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 middle.qcow2
    qemu-io -f qcow2 -c 'write -P 1 1M 200k' middle.qcow2 >/dev/null
    backed "raw" raw ../content.raw
    backed "qcow2, absolute path" qcow2 "$WORK/base.qcow2"
    backed "qcow2 over qcow2" qcow2 ../middle.qcow2
    backed "shorter than the image" raw ../content.raw 9M
    backed "longer than the image" raw ../content.raw 1M
    rm -f plain.qcow2
    check "backing file: not in the output" convert sub/overlay.qcow2 plain.qcow2
    check_equal "backing file: the output has none" \
        "$(qemu-img info --output json plain.qcow2 | jq '."backing-filename"')" null
    mv content.raw away.raw
    check_exit "backing file: not there" 1 'backing file .*content.raw.*No such file' \
        convert sub/overlay.qcow2 none.raw
    mv away.raw content.raw
    # qemu-img does not make such images any more: leave the extension out.
    qemu-img create -q -f qcow2 -u -F raw -b ../content.raw sub/guess.qcow2 5M
    put_big_endian sub/guess.qcow2 "$(get_header sub/guess.qcow2 header_length)" 4 0x12345678
    check_exit "backing file: of a format that is not stated" 1 'hint: .*qemu-img rebase' \
        convert sub/guess.qcow2 none.raw
    qemu-img create -q -f qcow2 -u -F qcow2 -b loop.qcow2 sub/a.qcow2 5M
    mv sub/a.qcow2 sub/loop.qcow2
    check_exit "backing file: itself" 1 'longer than 16' convert sub/loop.qcow2 none.raw
    qemu-img create -q -f qcow2 -u -F raw -b nbd://127.0.0.1/x sub/net.qcow2 5M
    check_exit "backing file: over the network" 1 'not a local file' convert sub/net.qcow2 none.raw
    check "backing file: what was refused is not written" test ! -e none.raw
}

# ---- what chrimg makes ----

# The image is without errors and leaks, and holds RAW, byte for byte.
holds() { # QCOW2 RAW
    sound "$1" && qemu-img compare -f qcow2 -F raw "$1" "$2" && rm -f back.raw &&
        raw_by_qemu "$1" back.raw && cmp back.raw "$2"
}

# What qemu-img says about a field of the image.
fact() { # FILE JQ
    qemu-img info -f qcow2 --output json "$1" | jq -r "$2"
}

twin_is_equal() { # RAW OPTION...
    convert --threads 3 "$1" twin.qcow2 "${@:2}" && cmp ours.qcow2 twin.qcow2
}

# ours NAME RAW OPTION...: an image that chrimg makes of RAW.
ours() {
    local name="by chrimg: $1" raw=$2
    shift 2
    rm -f ours.qcow2 twin.qcow2
    if ! convert "$raw" ours.qcow2 "$@" >output 2>&1; then
        not_ok "$name" "$(cat output)"
        return
    fi
    check "$name" holds ours.qcow2 "$raw"
    check "$name: the same bytes again" twin_is_equal "$raw" "$@"
}

make_with_every_option() {
    local size
    for size in "${CLUSTER_SIZES[@]}"; do
        ours "clusters of $size" content.raw --cluster-size "$size"
        check_equal "by chrimg: clusters of $size: they are" "$(fact ours.qcow2 '."cluster-size"')" \
            "$(numfmt --from=iec "${size^^}")"
        ours "clusters of $size, zlib" content.raw --cluster-size "$size" -c
        ours "clusters of $size, zstd" content.raw --cluster-size "$size" --compress=zstd
        ours "clusters of $size, metadata" content.raw --cluster-size "$size" --preallocation metadata
        ours "clusters of $size, full" content.raw --cluster-size "$size" --preallocation full
    done
    ours "default" content.raw
    check_equal "by chrimg: the defaults are qemu-img's" \
        "$(fact ours.qcow2 '[."cluster-size", ."format-specific".data.compat,
            ."format-specific".data."refcount-bits"] | join(" ")')" "65536 1.1 16"
    ours "zstd" content.raw -czstd
    check_equal "by chrimg: zstd is zstd" \
        "$(fact ours.qcow2 '."format-specific".data."compression-type"')" zstd
}

preallocates() {
    convert --preallocation metadata zeros.raw metadata.qcow2 &&
        convert --preallocation full zeros.raw full.qcow2 || return 1
    [ "$(stat -c %s metadata.qcow2)" -gt 5000000 ] || { echo "metadata: no place for clusters"; return 1; }
    [ "$(allocated_kib metadata.qcow2)" -lt 1000 ] || { echo "metadata: takes up the room"; return 1; }
    [ "$(allocated_kib full.qcow2)" -ge 5000 ] || { echo "full: takes up no room"; return 1; }
}

# No worse than qemu-img: the same clusters compressed, by the same method.
as_small_as_qemu() { # OPTION COMPRESSION-TYPE
    local limit
    rm -f small.qcow2 qemu.qcow2
    convert chr.img small.qcow2 "$1" && qemu-img convert -c -O qcow2 -o "compression_type=$2" \
        chr.img qemu.qcow2 || return 1
    limit=$(($(stat -c %s qemu.qcow2) * 101 / 100))
    [ "$(stat -c %s small.qcow2)" -le "$limit" ] && return 0
    echo "$(stat -c %s small.qcow2) bytes, qemu-img's has $(stat -c %s qemu.qcow2)"
    return 1
}

sizes_and_contents() {
    local size
    truncate -s $DISK_BYTES zeros.raw
    ours "nothing but zeros" zeros.raw
    check "by chrimg: zeros take no room" test "$(stat -c %s ours.qcow2)" -le $((6 * 65536))
    check "by chrimg: preallocation reserves what it says" preallocates
    for size in 512 65536 66048 $((1 << 29)) $(((1 << 29) + 512)); do
        truncate -s "$size" sized.raw
        printf 'the end' | dd of=sized.raw bs=1 seek=$((size - 7)) conv=notrunc status=none
        ours "a disk of $size bytes" sized.raw
    done
    # Half a sector would be lost in one format and made up in another.
    head -c 1000001 content.raw >odd.raw
    refused "a disk that is no multiple of 512" 3 'not whole sectors' odd.raw x.qcow2
}

# ---- the same bytes ----

same_bytes_for_any_threads() { # OPTION...
    local threads
    rm -f reference.qcow2
    convert --threads 1 "$@" chr.img reference.qcow2 || return 1
    for threads in 2 3 16; do
        rm -f threads.qcow2
        convert --threads "$threads" "$@" chr.img threads.qcow2 || return 1
        cmp reference.qcow2 threads.qcow2 || { echo "with $threads threads"; return 1; }
    done
}

# However the input lies on the disk: with holes, without, in a zip, in a qcow2.
same_bytes_from() { # SOURCE OPTION...
    rm -f from.qcow2
    convert "$@" from.qcow2 && cmp from.qcow2 reference.qcow2
}

determinism() {
    local option
    for option in --force -c -czstd --cluster-size=4k --preallocation=metadata; do
        check "same bytes: $option, any number of threads" same_bytes_for_any_threads "$option"
        rm -f folded.img
        cp --sparse=never chr.img folded.img
        check "same bytes: $option, without holes" same_bytes_from folded.img "$option"
        check "same bytes: $option, from a zip" same_bytes_from chr.img.zip "$option"
        check "same bytes: $option, from a qcow2" same_bytes_from chr.qcow2 "$option"
    done
}

# ---- fatten ----

same_bytes_fattened() { # SOURCE OPTION
    rm -f again.qcow2
    "$CHRIMG" fatten "$2" "$1" -o again.qcow2 && cmp fat.qcow2 again.qcow2
}

fatten_to_qcow2() {
    local option
    check "fatten: raw, to compare with" "$CHRIMG" fatten chr.img -o fat.img
    for option in --force -c -czstd; do
        rm -f fat.qcow2
        check "fatten $option: to qcow2" "$CHRIMG" fatten "$option" chr.img -o fat.qcow2
        check "fatten $option: holds the same disk" holds fat.qcow2 fat.img
        check "fatten $option: from a zip, the same bytes" same_bytes_fattened chr.img.zip "$option"
        check "fatten $option: from a qcow2, the same bytes" same_bytes_fattened chr.qcow2 "$option"
    done
    rm -f fat.qcow2
    check_exit "fatten -c: only for qcow2" 2 'hint: .*qcow2' "$CHRIMG" fatten -c chr.img -o no.img
    check "fatten -n: is done" "$CHRIMG" fatten -n chr.img -o never.qcow2
    check "fatten -n: writes nothing" test ! -e never.qcow2
    cp chr.qcow2 in-place.qcow2
    check "fatten --in-place: a qcow2" "$CHRIMG" fatten --in-place in-place.qcow2
    check "fatten --in-place: holds the same disk" holds in-place.qcow2 fat.img
    rm -f no-kernel.qcow2
    qemu-img create -q -f qcow2 no-kernel.qcow2 10M
    check_exit "fatten: a qcow2 that is empty" 3 'partition table' \
        "$CHRIMG" fatten no-kernel.qcow2 -o never.qcow2
    check "fatten: refused, and nothing is written" test ! -e never.qcow2
}

# ---- streams ----

streams() {
    local status
    check "-: raw to a pipe" eval 'convert chr.qcow2 - | cmp - chr.img'
    check "-: from a zip" eval 'convert chr.img.zip - | cmp - chr.img'
    check "-: nothing else on standard output" \
        test "$(convert content.raw - | wc -c)" -eq $DISK_BYTES
    check_exit "-: only raw" 2 'hint: -O raw' convert -O qcow2 chr.img -
    check_exit "-: no report beside it" 2 'report' convert --json chr.img -
    (convert chr.img - >/dev/full) 2>error
    status=$?
    check_equal "-: a full disk is exit status 1" "$status" 1
    check "-: a full disk is named" grep -q 'standard output: No space left' error
    # Enough for the pipe to be full when head goes.
    { convert chr.img -; echo $? >status; } 2>/dev/null | head -c 100 >/dev/null
    check "-: a reader that goes away is noticed" test "$(cat status)" -ne 0
    check_exit "-: not to a terminal" 2 'not for a terminal' \
        script -qec "'$CHRIMG' convert '$WORK/chr.img' -" /dev/null
}

# ---- sparse output, reports, names ----

stays_sparse() { # OUT
    [ "$(allocated_kib "$1")" -le $(($(allocated_kib chr.img) + 64)) ] && return 0
    echo "$(allocated_kib chr.img) KiB before, $(allocated_kib "$1") KiB after"
    return 1
}

outputs() {
    check "raw: from qcow2" convert chr.qcow2 out.img
    check "raw: it is the disk" cmp out.img chr.img
    check "raw: is sparse" stays_sparse out.img
    check "raw: from raw without holes" convert folded.img out2.img
    check "raw: is sparse from a source that is not" stays_sparse out2.img
    check "raw: it is the disk" cmp out2.img chr.img
    check "raw: from a zip" eval 'convert chr.img.zip out3.img && cmp out3.img chr.img'
    check "raw: from a zip, is sparse" stays_sparse out3.img
    check "raw: preallocation=full" convert --preallocation full chr.img out4.img
    check "raw: preallocation=full holds the disk" cmp out4.img chr.img
    check "raw: preallocation=full reserves all" test "$(allocated_kib out4.img)" -ge $((128 * 1024))
    check "-O goes before the ending" eval 'convert -O qcow2 chr.img odd.img && holds odd.img chr.img'
    check "--json is JSON, with every key" eval 'convert --json -c chr.img json.qcow2 |
        jq -e "[.schema, .output, .format, .virtual_size, .by_qemu_img] ==
            [1, \"json.qcow2\", \"qcow2\", 134217728, false] and (.allocated_size > 1000000)"'
    echo precious >there.qcow2
    check "-f replaces the output" eval 'convert -f chr.img there.qcow2 && holds there.qcow2 chr.img'
    echo precious >there.qcow2
    check_exit "-f: a source that fails" 3 'empty' convert -f empty there.qcow2
    check_equal "-f: the former output is as it was" "$(cat there.qcow2)" precious
    cp chr.qcow2 tagged.qcow2
    qemu-img snapshot -c before tagged.qcow2
    qemu-io -f qcow2 -c 'write -P 1 0 1M' tagged.qcow2 >/dev/null
    check "IMG@TAG: the state of the snapshot" eval 'convert tagged.qcow2@before - | cmp - chr.img'
    check "IMG@ID: likewise" eval 'convert tagged.qcow2@1 - | cmp - chr.img'
    check "IMG@TAG: to qcow2" eval 'convert -c tagged.qcow2@before tag.qcow2 && holds tag.qcow2 chr.img'
    cp chr.img 'at@home.img'
    check "a file with @ in its name" eval 'convert at@home.img - | cmp - chr.img'
}

# ---- other formats, by qemu-img ----

foreign_formats() {
    local format ending
    for format in vmdk vdi vhdx vpc; do
        ending=$format
        if [ $format = vpc ]; then ending=vhd; fi
        check "$format: to it" convert chr.img "disk.$ending"
        check "$format: qemu-img compares" qemu-img compare -f raw -F $format chr.img "disk.$ending"
        check "$format: by -O" convert -O $format chr.img.zip "zipped-$format"
        check "$format: from a zip, qemu-img compares" \
            qemu-img compare -f raw -F $format chr.img "zipped-$format"
        check "$format: from a snapshot" convert tagged.qcow2@before "tag.$ending"
        check "$format: from a snapshot, qemu-img compares" \
            qemu-img compare -f raw -F $format chr.img "tag.$ending"
        check "$format: back to qcow2" convert "disk.$ending" "back-$format.qcow2"
        check "$format: back, it is the disk" qemu-img compare chr.img "back-$format.qcow2"
        check_exit "$format: is there already" 1 'force' convert chr.img "disk.$ending"
        convert -f --json chr.img "disk.$ending" >report
        check_equal "$format: --json says who did it" \
            "$(jq -r '[.by_qemu_img, .format] | join(" ")' report)" "true $format"
    done
    mkdir empty.path
    check_exit "without qemu-img: it is named" 1 'qemu-img, which is not installed' \
        env PATH="$WORK/empty.path" "$CHRIMG" convert chr.img never.vmdk
    check_exit "without qemu-img: the way out" 1 'hint: .*qemu-utils' \
        env PATH="$WORK/empty.path" "$CHRIMG" convert disk.vdi never.img
    check "without qemu-img: raw and qcow2 need it not" \
        env PATH="$WORK/empty.path" "$CHRIMG" convert -c chr.qcow2 alone.qcow2
    head -c 1000 disk.vmdk >cut.vmdk
    check_exit "a vmdk that is cut off" 1 'qemu-img failed: ' convert cut.vmdk never.img
    check_equal "nothing is left beside" "$(find . -name '*never*' -o -name '.?*')" ""
}

# ---- what is refused ----

# refused NAME STATUS PATTERN ARGUMENT...: and neither a file nor the folder changes.
refused() {
    local before
    before=$(state_here)
    check_exit "refused: $1" "$2" "$3" convert "${@:4}"
    check "refused: $1: nothing changed" diff <(echo "$before") <(state_here)
}

refusals() {
    refused "no source" 2 'name a source and a destination'
    refused "no destination" 2 'name a source and a destination' chr.img
    refused "three names" 2 'one source, one destination' chr.img x.img y.img
    refused "an unknown option" 2 'no option --no-such' --no-such chr.img x.img
    refused "an unknown short option" 2 'no option -x' -x chr.img x.img
    refused "-O without a value" 2 'wants a value' chr.img x.img -O
    refused "an unknown format" 2 'no output format foo' -O foo chr.img x.img
    refused "an unknown compression" 2 'zlib or zstd, not lzma' -clzma chr.img x.qcow2
    for size in 256 3000 4M; do
        refused "clusters of $size" 2 'power of two from 512 to 2M' --cluster-size $size chr.img x.qcow2
    done
    for size in 0 -1 x 64kb 1G '' 18014398509481985k; do
        refused "clusters of '$size'" 2 'cluster-size is a size' --cluster-size "$size" chr.img x.qcow2
    done
    for threads in 0 257 -3 many ''; do
        refused "'$threads' threads" 2 'number from 1 to 256' --threads "$threads" chr.img x.qcow2
    done
    refused "an unknown preallocation" 2 'off, metadata or full' --preallocation some chr.img x.qcow2
    refused "a compressed raw image" 2 'for qcow2; the output is raw' -c chr.img x.img
    refused "clusters in a raw image" 2 'for qcow2; the output is raw' --cluster-size 4k chr.img x.img
    refused "metadata of a raw image" 2 'for qcow2' --preallocation metadata chr.img x.img
    refused "a compressed vmdk" 2 'for qcow2; the output is vmdk' -c chr.img x.vmdk
    refused "compression and preallocation" 2 'exclude each other' -c --preallocation full chr.img x.qcow2
    refused "the source itself" 2 'is the source itself' -f chr.img ./chr.img
    ln -s chr.img link.img
    refused "the source itself, by a link" 2 'is the source itself' -f chr.img link.img
    refused "a snapshot over its image" 2 'is the source itself' -f chr.qcow2 chr.qcow2
    refused "an output that is there" 1 'there already' chr.img there.qcow2
    refused "a folder as output" 2 'folder' -f chr.img .
    refused "an output folder that is not there" 1 'nowhere.*No such file' chr.img nowhere/x.qcow2
    refused "a source that is not there" 1 'none.img: No such file' none.img x.qcow2
    refused "a folder as source" 2 'folder' . x.qcow2
    refused "an empty source" 3 'empty' empty x.qcow2
    refused "a snapshot of a raw image" 1 'no snapshots' chr.img@tag x.qcow2
    refused "an unknown snapshot" 1 'no snapshot tag' chr.qcow2@tag x.qcow2
}

mixed_content content.raw $DISK_BYTES
"$MKCHR" 7.19 chr.img
zip -q chr.img.zip chr.img
qemu-img convert -f raw -O qcow2 chr.img chr.qcow2
: >empty

read_what_qemu_makes
check "by qemu-img: dirty refcounts" lazy_and_killed
backing_files
make_with_every_option
sizes_and_contents
check "zlib is as small as qemu-img's" as_small_as_qemu -c zlib
check "zstd is as small as qemu-img's" as_small_as_qemu -czstd zstd
determinism
fatten_to_qcow2
streams
outputs
foreign_formats
refusals
done_testing
