#!/usr/bin/env bash
# What an image is that chrimg does not take, and hints that are commands: each is run.
# shellcheck disable=SC2317 # functions are called through check
export IN_MEMORY=yes
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool e2fsck debugfs qemu-img jq gzip xz zstd bzip2

# The hint of a command that fails.
hint() {
    "$@" 2>&1 >/dev/null | sed -n 's/^hint: //p'
}

# follow HINT: run it, as a user would copy it to a shell; e2fsck's questions are answered with yes.
follow() {
    local command=${1//e2fsck -f/e2fsck -fy}
    PATH=$BUILD:$PATH sh -c "$command"
}

"$MKCHR" 7.20 chr.img
part_bytes() { # NUMBER
    "$CHRIMG" info --json chr.img |
        jq -r ".partitions[] | select(.number == $1) | \"\(.first_lba * 512) \(.size)\""
}
read -r offset size < <(part_bytes 2)

# ---- images of others ----

refused_as() { # FILE WHAT MADE: named, and the hint makes MADE of it
    check_exit "$1 is $2" 1 "$1 is $2\$" "$CHRIMG" info "$1"
    check_exit "$1: inject says so, too" 1 "is $2\$" "$CHRIMG" inject "$1" --identity x
    check "$1: the command that makes an image of it" follow "$(hint "$CHRIMG" info "$1")"
    check "$1: which is one" "$CHRIMG" ls "$3:/rw"
    rm -f "$3"
}
for format in vmdk vdi vhdx; do
    qemu-img convert -O $format chr.img "an $format.$format"
    refused_as "an $format.$format" "a $format image" "an $format.qcow2"
done
qemu-img convert -O vpc chr.img dynamic.vhd
refused_as dynamic.vhd "a vhd image" dynamic.qcow2
qemu-img convert -O qed chr.img chr.qed
refused_as chr.qed "a QED image" chr.qcow2
qemu-img convert -O vmdk -o subformat=monolithicFlat chr.img flat.vmdk
refused_as flat.vmdk "a VMDK that is the description of other files" flat.qcow2
qemu-img convert -O vpc -o subformat=fixed,force_size=on chr.img fixed.vhd
check "a fixed VHD is a raw disk with a footer" "$CHRIMG" ls fixed.vhd:/rw
mv dynamic.vhd wrong.qcow2
refused_as wrong.qcow2 "a vhd image" wrong-new.qcow2
for tool in gzip xz zstd bzip2; do
    $tool -1 -c <chr.img >"packed.img.$tool"
    refused_as "packed.img.$tool" "compressed with $tool" packed.img
done
gzip -c <chr.img >same.img
refused_as same.img "compressed with gzip" same-new.img
rm -f ./*.vmdk ./*.vdi ./*.vhdx ./*.vhd ./*.qed packed.* same.img wrong.qcow2

# ---- partitions ----

tail -c +$((offset + 1)) chr.img | head -c "$size" >wanted
for which in root 2; do
    check "extract --raw --partition $which" "$CHRIMG" extract chr.img --raw got --force --partition $which
    check "byte for byte" cmp wanted got
done
qemu-img convert -O qcow2 chr.img chr.qcow2
check "out of a qcow2" "$CHRIMG" extract chr.qcow2 --raw got --force --partition root
check "the same bytes" cmp wanted got
check_exit "and it says which" 0 'wrote the root partition to got$' \
    "$CHRIMG" extract chr.img --raw got -f --partition root
check_equal "in JSON" "$("$CHRIMG" extract chr.img --raw got -f --partition root --json | jq -c '[.partition, .bytes]')" "[2,$size]"
"$CHRIMG" extract chr.img --raw boot >/dev/null
check "without it the boot partition" cmp boot <("$CHRIMG" extract chr.img --raw got -f --partition boot >/dev/null && cat got)
check_exit "no such partition" 1 'no partition 7$' "$CHRIMG" extract chr.img --raw new --partition 7
check_exit "no such name" 2 'hint: there are boot, root, 1, 2$' "$CHRIMG" extract chr.img --raw new --partition rot
check_exit "files of the root are for cp" 2 'cp -r IMG:/ FOLDER' "$CHRIMG" extract chr.img -o new --partition root
check "nothing was made" test ! -e new
check_exit "not to standard output" 2 'to a file' "$CHRIMG" extract chr.img --raw -
check_exit "a folder that is nowhere" 1 'mkdir -p' "$CHRIMG" extract chr.img -o no/where
check_exit "a folder that has no name" 2 'is empty' "$CHRIMG" extract chr.img -o ''
"$MKCHR" v6 six.img
check "the one partition of RouterOS 6 is both" \
    cmp <("$CHRIMG" extract six.img --raw r -f --partition root >/dev/null && cat r) \
    <("$CHRIMG" extract six.img --raw b -f >/dev/null && cat b)
rm -f got wanted boot r b six.img chr.qcow2

# ---- a damaged root ----

mkdir "a folder"
cp --sparse=always chr.img "a folder/it's.img"
debugfs -w -R 'clri /var/pdb/system' "a folder/it's.img?offset=$offset" 2>/dev/null
qemu-img convert -O qcow2 "a folder/it's.img" "a folder/it's.qcow2"
echo x >x
for image in "a folder/it's.img" "a folder/it's.qcow2"; do
    check_exit "$image: a damaged root" 3 'hint: .*e2fsck -f .*offset=33571840' "$CHRIMG" cp x "$image:/rw/x"
    check_exit "$image: also when it is read" 3 'hint: .*e2fsck -f' "$CHRIMG" ls -R "$image:/"
    before=$(sha256sum <"$image")
    follow "$(hint "$CHRIMG" cp x "$image:/rw/x")" >log 2>&1
    mended=$image
    if [ "$image" != "${image%.qcow2}" ]; then
        mended="${image%.qcow2}-mended.qcow2"
        check_equal "$image itself is as it was" "$(sha256sum <"$image")" "$before"
    fi
    check "$mended: what the hint says mends it" "$CHRIMG" cp x "$mended:/rw/x"
    check_exit "$mended: check has no complaint" 0 'sound' "$CHRIMG" check "$mended"
done
cp --sparse=always chr.img errors.img
debugfs -w -R 'ssv state 2' "errors.img?offset=$offset" 2>/dev/null
check_exit "an ext with errors: boot it, or run e2fsck" 1 "errors\.img\?offset=" "$CHRIMG" cp x errors.img:/rw/x
follow "$(hint "$CHRIMG" cp x errors.img:/rw/x | sed 's/.*: e2fsck/e2fsck/')" >log 2>&1
check "which helps" "$CHRIMG" cp x errors.img:/rw/x

done_testing
