#!/usr/bin/env bash
# chrimg check: leaks, refcounts, GPT, ext, FAT; each damage gets its verdict and its
# exit status, is repaired when asked for and only then, and nothing else is touched.
IN_MEMORY=yes
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool qemu-img qemu-io jq debugfs e2fsck mshowfat zip

PATCH=$BUILD/tests/hostile/patch

# checked NAME STATUS PATTERN IMAGE: without --repair: the verdict in text and JSON, and
# not a byte of the image or its folder changes.
checked() {
    local name=$1 status=$2 pattern=$3 image=$4 before got
    before="$(state_here) $(checksum "$image")"
    check_exit "$name" "$status" "$pattern" "$CHRIMG" check "$image"
    got=$("$CHRIMG" check --json "$image")
    check_equal "$name: --json has the same exit status" "$?" "$status"
    check_equal "$name: --json has the verdict" "$(jq -r .verdict <<<"$got")" "$(verdict_of "$status")"
    check_equal "$name: --json has no repairs" "$(jq -c .repairs <<<"$got")" "[]"
    check "$name: nothing is written" diff <(echo "$before") <(echo "$(state_here) $(checksum "$image")")
}

verdict_of() {
    case $1 in
    0) echo sound ;;
    3) echo damaged ;;
    4) echo leaks ;;
    esac
}

# repaired NAME WHAT PATTERN IMAGE: it says so, and is sound then.
repaired() {
    local name="$1: --repair $2" what=$2 pattern=$3 image=$4
    cp --sparse=always "$image" work.image
    check_exit "$name" 0 "^repaired $pattern" "$CHRIMG" check --repair "$what" "$image"
    check_exit "$name: sound afterwards" 0 'sound' "$CHRIMG" check "$image"
    check_exit "$name: once more, nothing to repair" 0 '^1 unchanged' \
        repair_changes_nothing "$what" "$image"
    # The same repair, reported as JSON.
    check_equal "$name: --json says the same" \
        "$("$CHRIMG" check --json --repair "$what" work.image |
            jq -c '[.verdict, (.repairs | length > 0), (.findings | length > 0)]')" '["sound",true,true]'
    check "$name: the same bytes again" cmp "$image" work.image
    check_equal "$name: nothing is left beside" "$(find . -name '.?*')" ""
}

repair_changes_nothing() { # WHAT IMAGE
    local before output
    before=$(state_here)
    output=$("$CHRIMG" check --repair "$1" "$2") || return 1
    diff <(echo "$before") <(state_here) && ! grep -q '^repaired' <<<"$output" && echo '1 unchanged'
}

# not_repaired NAME WHAT STATUS PATTERN IMAGE: no repair is claimed, and nothing is written.
not_repaired() {
    local before
    before="$(state_here) $(checksum "$5")"
    check "$1: --repair $2 does not" fails_without_repair "${@:2}"
    check "$1: --repair $2: nothing is written" \
        diff <(echo "$before") <(echo "$(state_here) $(checksum "$5")")
}

fails_without_repair() { # WHAT STATUS PATTERN IMAGE
    local output status
    output=$("$CHRIMG" check --repair "$1" "$4" 2>&1)
    status=$?
    echo "exit status $status: $output"
    [ "$status" -eq "$2" ] && grep -qE "$3" <<<"$output" && ! grep -q '^repaired' <<<"$output"
}

fresh() { # a qcow2 with a snapshot, the disk of which is chr.img
    cp base.qcow2 image.qcow2
}

# What the disk and its snapshot hold is as it was.
contents_kept() { # IMAGE
    qemu-img compare -f qcow2 -F raw "$1" chr.img && raw_by_qemu "$1" seen.raw before &&
        cmp seen.raw chr.img
}

# ---- sound images ----

sound_images() {
    local image
    zip -q chr.img.zip chr.img
    "$CHRIMG" convert -c chr.img small.qcow2 >/dev/null
    "$CHRIMG" fatten chr.img -o fat.qcow2 >/dev/null
    for image in chr.img chr.img.zip base.qcow2 small.qcow2 fat.qcow2 base.qcow2@before; do
        check_exit "sound: $image" 0 'sound \(ext judged by e2fsck\)' "$CHRIMG" check "$image"
    done
    checked "sound: raw" 0 'sound' chr.img
    checked "sound: qcow2" 0 'sound' base.qcow2
    for what in leaks all; do
        check_exit "sound: --repair $what has nothing to do" 0 '^1 unchanged' \
            repair_changes_nothing $what base.qcow2
    done
    check_exit "sound: layout 7.17" 0 'sound' check_layout 7.17
    check_exit "sound: layout 7.20" 0 'sound' check_layout 7.20
    check_exit "sound: layout fat" 0 'sound' check_layout fat
    check_exit "sound: layout without a boot file system" 0 'sound' check_layout raw
}

check_layout() {
    "$MKCHR" "$1" layout.img && "$CHRIMG" check layout.img
}

# ---- leaks ----

# A refcount of 1 behind the last cluster: counted, and nothing refers to it.
leak() { # IMAGE COUNT
    local end i
    end=$((($(stat -c %s "$1") + 65535) / 65536))
    truncate -s $(((end + $2) * 65536)) "$1"
    for ((i = 0; i < $2; i++)); do
        put_big_endian "$1" "$(refcount_place "$1" $((end + i)))" 2 1
    done
}

leaks() {
    fresh
    leak image.qcow2 3
    check_exit "leaks: qemu-img sees them" 3 '3 leaked clusters' qemu-img check image.qcow2
    checked "leaks" 4 '3 clusters are counted, but nothing refers to them' image.qcow2
    check_exit "leaks: the way out" 4 'hint: chrimg check --repair leaks image.qcow2' \
        "$CHRIMG" check image.qcow2
    cp image.qcow2 leaky.qcow2
    repaired "leaks" leaks 'qcow2: freed 3 leaked clusters' image.qcow2
    check "leaks: qemu-img agrees" sound image.qcow2
    check "leaks: the contents are kept" contents_kept image.qcow2
    cp leaky.qcow2 image.qcow2
    repaired "leaks" all 'qcow2: freed 3 leaked clusters' image.qcow2
    check "leaks: --repair all: qemu-img agrees" sound image.qcow2
    check "leaks: an image with leaks can be used" "$CHRIMG" snapshot -c more leaky.qcow2
    check "leaks: and is not made worse" not_corrupt leaky.qcow2
}

# QEMU was killed while it had changed clusters in hand.
killed_writer() {
    qemu-img create -q -f qcow2 -o lazy_refcounts=on lazy.qcow2 128M
    qemu-img convert -n -f raw -O qcow2 chr.img lazy.qcow2
    # sigraise ends qemu-io in the middle; the shell around it is there to say "Killed".
    (
        qemu-io -f qcow2 -c 'write -P 5 100M 1M' -c flush -c 'sigraise 9' lazy.qcow2
        echo "status $?"
    ) >killed.log 2>&1
    check_equal "killed writer: it was" "$(tail -n 1 killed.log)" "status 137"
    check_equal "killed writer: the image is marked dirty" \
        $(($(get_header lazy.qcow2 incompatible_features) & 1)) 1
    checked "killed writer" 3 'refcount' lazy.qcow2
    repaired "killed writer" all 'qcow2: set [0-9]+ wrong refcounts and flags right' lazy.qcow2
    check "killed writer: qemu-img agrees" sound lazy.qcow2
    check_equal "killed writer: not dirty any more" "$(get_header lazy.qcow2 incompatible_features)" 0
    check_equal "killed writer: what was flushed is there" \
        "$(qemu-io -r -f qcow2 -c 'read -P 5 100M 1M' lazy.qcow2 | grep -c 'verification failed')" 0
}

# ---- wrong refcounts ----

# The host cluster of guest cluster 0, which a snapshot shares with the disk.
first_cluster() {
    echo $(($(entry_offset "$1" "$(first_l2_entry "$1")") / 65536))
}

# wrong NAME COUNTED: the shared cluster's refcount, 2, becomes COUNTED.
wrong() {
    local name="refcount $2 instead of 2: $1" place
    fresh
    place=$(refcount_place image.qcow2 "$(first_cluster image.qcow2)")
    check_equal "$name: it was 2" "$(big_endian image.qcow2 "$place" 2)" 2
    put_big_endian image.qcow2 "$place" 2 "$2"
    checked "$name" "$3" 'refcount' image.qcow2
    if [ "$3" = 3 ]; then not_repaired "$name" leaks 3 'damaged' image.qcow2; fi
    repaired "$name" all 'qcow2: ' image.qcow2
    check_equal "$name: it is 2 again" \
        "$(big_endian image.qcow2 "$(refcount_place image.qcow2 "$(first_cluster image.qcow2)")" 2)" 2
    check "$name: qemu-img agrees" sound image.qcow2
    check "$name: the contents are kept" contents_kept image.qcow2
}

wrong_refcounts() {
    wrong "too low" 1 3
    wrong "free" 0 3
    wrong "too high" 5 4
    check_exit "a damaged image is not changed" 3 'hint: .*[Rr]epair' damaged_is_refused
}

damaged_is_refused() {
    fresh
    put_big_endian image.qcow2 "$(refcount_place image.qcow2 "$(first_cluster image.qcow2)")" 2 0
    "$CHRIMG" snapshot -c tag image.qcow2
}

# The mark "corrupt", which QEMU sets when it stumbles: until a repair, nobody writes.
marked_corrupt() {
    fresh
    put_header image.qcow2 incompatible_features 2
    check_exit "marked corrupt: QEMU does not write to it" 1 'corrupt' \
        qemu-io -f qcow2 -c 'write 0 1k' image.qcow2
    checked "marked corrupt" 3 'marked' image.qcow2
    check_exit "marked corrupt: --repair all takes the mark away" 0 '^repaired' \
        "$CHRIMG" check --repair all image.qcow2
    check_equal "marked corrupt: it is away" "$(get_header image.qcow2 incompatible_features)" 0
    check "marked corrupt: chrimg writes again" "$CHRIMG" snapshot -c tag image.qcow2
}

# Two places of the disk on one cluster: which of them it belongs to cannot be told.
shared_cluster() {
    local entry
    cp plain.qcow2 image.qcow2
    entry=$(first_l2_entry image.qcow2)
    # The boot partition begins in cluster 0; cluster 8 is the kernel's.
    dd if=image.qcow2 bs=1 skip=$((entry + 8 * 8)) count=8 status=none |
        dd of=image.qcow2 bs=1 seek=$((entry + 9 * 8)) conv=notrunc status=none
    check_exit "two references to one cluster: qemu-img sees it" 2 'ERROR' qemu-img check image.qcow2
    checked "two references to one cluster" 3 'refcount 1, used 2 times' image.qcow2
}

# A reference that cannot be right is no matter of counting.
broken_reference() {
    local entry
    cp plain.qcow2 image.qcow2
    entry=$(($(first_l2_entry image.qcow2) + 8 * 9))
    put_big_endian image.qcow2 $entry 8 $(((1 << 63) | 0x00ffffffffff0000))
    checked "a reference outside of the file" 3 'guest cluster 9' image.qcow2
    not_repaired "a reference outside of the file" leaks 3 'damaged' image.qcow2
    not_repaired "a reference outside of the file" all 3 'damaged' image.qcow2
    cp plain.qcow2 image.qcow2
    put_big_endian image.qcow2 "$(first_l2_entry image.qcow2)" 8 \
        $(((1 << 63) | $(get_header image.qcow2 l1_table_offset)))
    checked "data where the L1 table is" 3 'is also' image.qcow2
    not_repaired "data where the L1 table is" all 3 'damaged' image.qcow2
}

# ---- GPT ----

# Changed sectors of two raw images, one a line.
changed_sectors() {
    cmp -l "$1" "$2" | awk '{ print int(($1 - 1) / 512) }' | uniq
}

only_changes() { # OLD NEW FIRST LAST: sectors
    changed_sectors "$1" "$2" | awk -v first="$3" -v last="$4" '
        $1 < first || $1 > last { print "sector " $1; bad = 1 } END { exit bad || NR == 0 }'
}

# damaged_gpt COPY FIRST LAST CHANGE...: the sectors of that copy.
damaged_gpt() {
    local copy=$1 first=$2 last=$3 name="GPT, $1 copy"
    shift 3
    cp --sparse=always chr.img image.img
    check "$name: damaged" "$PATCH" image.img "$@"
    cp --sparse=always image.img damaged.img
    qemu-img convert -f raw -O qcow2 image.img image.qcow2
    checked "$name" 3 "$copy" image.img
    checked "$name, in a qcow2" 3 "$copy" image.qcow2
    not_repaired "$name" leaks 3 'damaged' image.img
    repaired "$name" all "GPT: wrote the $copy copy anew" image.img
    check "$name: only its sectors change" only_changes damaged.img image.img "$first" "$last"
    check "$name: it is the good image again" cmp image.img chr.img
    repaired "$name, in a qcow2" all "GPT: wrote the $copy copy anew" image.qcow2
    check "$name, in a qcow2: it is the good image again" qemu-img compare image.qcow2 chr.img
    check "$name, in a qcow2: sound" sound image.qcow2
}

gpt_damage() {
    damaged_gpt primary 1 33 gpt.crc=0x12345678
    damaged_gpt primary 1 33 gpt1.first=77 gpt.entries_crc=0
    damaged_gpt primary 1 33 gpt.signature=0
    # The stand-in's backup is at LBA 258080, the entries before it.
    damaged_gpt backup 258048 258080 bak.crc=1
    damaged_gpt backup 258048 258080 bak.signature=0
    cp --sparse=always chr.img image.img
    check "GPT, both copies: damaged" "$PATCH" image.img gpt.crc=1 bak.crc=1
    checked "GPT, both copies" 3 'damaged' image.img
    not_repaired "GPT, both copies" all 3 'damaged' image.img
}

# Leaks and a damaged GPT in one image: each is repaired, and each is said.
everything_at_once() {
    cp --sparse=always chr.img image.img
    "$PATCH" image.img gpt.crc=7 >/dev/null
    qemu-img convert -f raw -O qcow2 image.img image.qcow2
    leak image.qcow2 2
    checked "leaks and GPT" 3 '2 clusters are counted' image.qcow2
    cp image.qcow2 both.qcow2
    check_exit "leaks and GPT: --repair leaks leaves the GPT" 3 '^repaired qcow2: freed 2 leaked' \
        "$CHRIMG" check --repair leaks both.qcow2
    check "leaks and GPT: --repair leaks: no leak is left" sound both.qcow2
    repaired "leaks and GPT" all 'GPT: wrote the primary copy anew' image.qcow2
    check "leaks and GPT: sound" sound image.qcow2
    check "leaks and GPT: the disk" qemu-img compare image.qcow2 chr.img
}

# ---- file systems ----

# damaged_ext NAME PARTITION COMMAND: of debugfs.
damaged_ext() {
    local name=$1
    cp --sparse=always chr.img image.img
    debugfs -w -R "$3" "image.img?offset=$(($(partition_start chr.img "$2") * 512))" 2>/dev/null
    check "$name: the image is damaged" eval '! cmp -s image.img chr.img'
    checked "$name" 3 "partition $2: " image.img
    not_repaired "$name" all 3 "partition $2: " image.img
    qemu-img convert -f raw -O qcow2 image.img image.qcow2
    checked "$name, in a qcow2" 3 "partition $2: " image.qcow2
}

# It is looked for in /sbin, too: for COMMAND, that is empty.
without_e2fsck() { # COMMAND...
    # shellcheck disable=SC2016 # for the inner shell
    unshare -rm sh -c 'mount --bind "$0" /usr/sbin && mount --bind "$0" /sbin && exec "$@"' \
        "$WORK/empty.path" env PATH="$WORK/empty.path" "$@"
}

ext_damage() {
    damaged_ext "ext: an inode of the root is cleared" 2 'clri /rw/autorun.scr'
    damaged_ext "ext: a folder of the root is cleared" 2 'clri /var'
    damaged_ext "ext: the loader's inode is cleared" 1 'clri /EFI/BOOT/BOOTX64.EFI'
    damaged_ext "ext: a used block is marked free" 2 'freeb 5'
    if without_e2fsck "$CHRIMG" --version >/dev/null 2>/dev/null; then
        check_exit "without e2fsck: chrimg judges" 3 'damaged \(ext judged by chrimg\)' \
            without_e2fsck "$CHRIMG" check image-clri.img
        check_exit "without e2fsck: a sound image" 0 'sound \(ext judged by chrimg\)' \
            without_e2fsck "$CHRIMG" check chr.img
    else
        skip "without e2fsck" "no namespaces to hide it in"
    fi
    "$MKCHR" 7.19 dirty.img --journal-dirty
    checked "ext: a journal to be replayed is no damage" 0 'sound' dirty.img
}

fat_damage() {
    local cluster change
    "$CHRIMG" fatten chr.img -o fat.img >/dev/null
    partition fat.img 1 fat.p1
    cluster=$(mshowfat -i fat.p1 ::/EFI/BOOT/BOOTX64.EFI | sed 's/.*<\([0-9]*\).*/\1/')
    for change in "ends early:fat$((cluster + 3))=0xffff" "loops:fat$((cluster + 3))=$cluster" \
        "leads outside:fat$((cluster + 3))=0xfff0" "is free in the middle:fat$((cluster + 3))=0" \
        "differs in the two FATs:fata$((cluster + 3))=0xfff8"; do
        cp --sparse=always fat.img image.img
        check "FAT: the kernel's chain ${change%%:*}: made" "$PATCH" image.img "${change#*:}"
        checked "FAT: the kernel's chain ${change%%:*}" 3 'partition 1|boot partition' image.img
        not_repaired "FAT: the kernel's chain ${change%%:*}" all 3 'damaged' image.img
    done
}

loader_damage() {
    cp --sparse=always chr.img image.img
    local block
    partition chr.img 1 chr.p1
    block=$(debugfs -R 'bmap /EFI/BOOT/BOOTX64.EFI 0' chr.p1 2>/dev/null)
    "$PATCH" image.img "p1+$((block * 4096 + 64)):32=0" >/dev/null
    checked "the loader's PE header" 3 'BOOTX64.EFI' image.img
}

# ---- what is no disk, wrong command lines ----

refusals() {
    : >empty.img
    head -c 200 /dev/zero >short.img
    qemu-img create -q -f qcow2 blank.qcow2 10M
    checked "a qcow2 without tables on its disk" 3 'no partition table' blank.qcow2
    check_exit "an empty file" 3 'empty' "$CHRIMG" check empty.img
    check_exit "200 bytes" 3 '.' "$CHRIMG" check short.img
    check_exit "no such file" 1 'none.img: No such file' "$CHRIMG" check none.img
    check_exit "no such snapshot" 1 'no snapshot none' "$CHRIMG" check base.qcow2@none
    check_exit "a folder" 2 'folder' "$CHRIMG" check .
    check_exit "no image" 2 'name the image' "$CHRIMG" check
    check_exit "two images" 2 'one image' "$CHRIMG" check chr.img base.qcow2
    check_exit "an unknown repair" 2 'leaks or all, not some' "$CHRIMG" check --repair some chr.img
    check_exit "a repair that is not named" 2 'wants a value' "$CHRIMG" check chr.img --repair
    cp --sparse=always chr.img image.img
    "$PATCH" image.img gpt.crc=7 >/dev/null
    rm -f image.img.zip
    zip -q image.img.zip image.img
    check_exit "a zip cannot be repaired" 1 'zip' "$CHRIMG" check --repair all image.img.zip
    "$CHRIMG" convert image.img tagged.qcow2 >/dev/null
    qemu-img snapshot -c tag tagged.qcow2
    check_exit "a snapshot cannot be repaired" 1 'only be read' \
        "$CHRIMG" check --repair all tagged.qcow2@tag
    check_exit "a snapshot is checked" 3 'primary' "$CHRIMG" check tagged.qcow2@tag
}

mkdir empty.path
"$MKCHR" 7.19 chr.img
cp --sparse=always chr.img image-clri.img
debugfs -w -R 'clri /var' "image-clri.img?offset=$(($(partition_start chr.img 2) * 512))" 2>/dev/null
qemu-img convert -f raw -O qcow2 chr.img plain.qcow2
cp plain.qcow2 base.qcow2
qemu-img snapshot -c before base.qcow2

sound_images
leaks
killed_writer
wrong_refcounts
marked_corrupt
shared_cluster
broken_reference
gpt_damage
everything_at_once
ext_damage
fat_damage
loader_damage
refusals
done_testing
