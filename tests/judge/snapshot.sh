#!/usr/bin/env bash
# chrimg snapshot: 200 random steps in turns with qemu-img and qemu-io against a model,
# then tags, snapshots of VMs, the image that is meant, differences, IMG@TAG.
IN_MEMORY=yes
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool qemu-img qemu-io qemu-system-x86_64 jq debugfs zip

# ---- the model: a raw copy of each state ----

# tags[i] is the tag of the i-th snapshot, states[i] the file that is what it holds;
# the disk as it is now is now.raw.
tags=()
states=()
MODEL_BYTES=$((2 * 1024 * 1024 + 3 * 512))

# pick N: a number below N in $picked.  No subshell: that would have other random numbers.
pick() {
    picked=$(((RANDOM * 32768 + RANDOM) % $1))
}

# One random write, zeroing or discard, to the image (in $commands) and to the model.
random_write() {
    local kind offset length pattern
    pick 10
    kind=$picked
    pick $((MODEL_BYTES - 1))
    offset=$picked
    pick 200000
    length=$((picked + 1))
    pick 255
    pattern=$((picked + 1))
    if ((length > MODEL_BYTES - offset)); then length=$((MODEL_BYTES - offset)); fi
    case $kind in
    0 | 1) commands+=(-c "write -z $offset $length") pattern=0 ;;
    2)
        # QEMU passes over clusters of which only a part is discarded.
        offset=$((offset / cluster_size * cluster_size))
        length=$(((length + cluster_size - 1) / cluster_size * cluster_size))
        if ((length > MODEL_BYTES - offset)); then return 0; fi
        commands+=(-c "discard $offset $length") pattern=0
        ;;
    *) commands+=(-c "write -P $pattern $offset $length") ;;
    esac
    head -c "$length" /dev/zero | tr '\0' "\\$(printf %o "$pattern")" |
        dd of=now.raw bs=64k iflag=fullblock oflag=seek_bytes seek="$offset" conv=notrunc status=none
}

random_writes() {
    local count commands=()
    pick 4
    count=$picked
    for ((; count > 0; count--)); do random_write; done
    if [ ${#commands[@]} -gt 0 ]; then
        qemu-io -f qcow2 -d unmap "${commands[@]}" model.qcow2 >>step.log
    fi
}

# The tag or the ID of snapshot INDEX, in $name.
tag_or_id() {
    name=${tags[$1]}
    pick 2
    if [ "$picked" = 1 ]; then
        name=$(qemu-img snapshot -l model.qcow2 | awk -v tag="$name" '$2 == tag { print $1 }')
    fi
}

create() { # TOOL
    local tag="s$step"
    if [ "$1" = chrimg ]; then
        "$CHRIMG" snapshot -c "$tag" model.qcow2
    else
        qemu-img snapshot -c "$tag" model.qcow2
    fi || return 1
    remember "$tag"
}

# The present state is a snapshot TAG now.
remember() {
    cp --sparse=always now.raw "state.$1"
    tags+=("$1")
    states+=("state.$1")
}

apply() { # TOOL INDEX
    local name keep=() kept
    tag_or_id "$2"
    if [ "$1" = qemu-img ]; then
        qemu-img snapshot -a "$name" model.qcow2 || return 1
    else
        pick 2
        if [ "$picked" = 1 ]; then keep=(--no-keep); fi
        "$CHRIMG" snapshot -a "$name" "${keep[@]}" --json model.qcow2 >report || return 1
        kept=$(jq -r '.kept // ""' report)
        case "${keep[*]}:$kept" in
        --no-keep: | :before-apply-*) ;;
        *) echo "kept as '$kept'"; return 1 ;;
        esac
        if [ -n "$kept" ]; then remember "$kept"; fi
    fi
    cp --sparse=always "${states[$2]}" now.raw
}

delete() { # TOOL INDEX
    local name=${tags[$2]} # qemu-img deletes by tag only
    if [ "$1" = chrimg ]; then
        tag_or_id "$2"
        "$CHRIMG" snapshot -d "$name" model.qcow2
    else
        qemu-img snapshot -d "$name" model.qcow2
    fi || return 1
    rm "${states[$2]}"
    tags=("${tags[@]:0:$2}" "${tags[@]:$2+1}")
    states=("${states[@]:0:$2}" "${states[@]:$2+1}")
}

qemu_reads() { # WANTED [TAG]
    rm -f seen.raw
    raw_by_qemu model.qcow2 seen.raw "${@:2}" && cmp seen.raw "$1"
}

# The image is what the model says, for both programs.
agrees() {
    local i
    sound model.qcow2 || return 1
    [ "$(tags_by_qemu model.qcow2)" = "$(printf '%s\n' "${tags[@]}")" ] ||
        { echo "snapshots: $(tags_by_qemu model.qcow2), wanted: ${tags[*]}"; return 1; }
    "$CHRIMG" convert model.qcow2 - | cmp - now.raw || { echo "now, by chrimg"; return 1; }
    qemu_reads now.raw || { echo "now, by QEMU"; return 1; }
    for i in "${!tags[@]}"; do
        "$CHRIMG" convert "model.qcow2@${tags[i]}" - | cmp - "${states[i]}" ||
            { echo "${tags[i]}, by chrimg"; return 1; }
        qemu_reads "${states[i]}" "${tags[i]}" || { echo "${tags[i]}, by QEMU"; return 1; }
    done
}

# What to do next, by chance; TOOL INDEX of a snapshot, in $action.
choose() {
    local tool=chrimg
    if ((step % 2)); then tool=qemu-img; fi
    pick 10
    if [ ${#tags[@]} -eq 0 ] || { ((picked < 4)) && [ ${#tags[@]} -lt 6 ]; }; then
        action=(create "$tool")
        return
    fi
    action=(delete "$tool")
    if ((picked < 7)) && [ ${#tags[@]} -lt 6 ]; then action=(apply "$tool"); fi
    pick ${#tags[@]}
    action+=("$picked")
}

# random_steps COUNT OPTIONS [-c]: on an image that qemu-img makes with them.
random_steps() {
    local count=$1 options=$2 cluster_size action last=$((step + $1)) title
    shift 2
    rm -f model.qcow2 state.*
    tags=()
    states=()
    mixed_content now.raw $MODEL_BYTES
    qemu-img convert -f raw -O qcow2 -o "$options" "$@" now.raw model.qcow2
    cluster_size=$(qemu-img info --output json model.qcow2 | jq '."cluster-size"')
    while ((step < last)); do
        step=$((step + 1))
        choose
        title="step $step ($options $*): ${action[0]} by ${action[1]}"
        # In this shell, not in check's subshell: the model changes.
        if random_writes >step.log 2>&1 && "${action[@]}" >>step.log 2>&1 && agrees >>step.log 2>&1; then
            ok "$title"
        else
            not_ok "$title, snapshot ${action[2]:-}" "$(tail -n 20 step.log)"
            step=$last # the image and the model have parted
        fi
    done
    check_equal "step $step: all $count steps were done" "$(sound model.qcow2 && echo sound)" sound
}

# ---- tags ----

snapshot() {
    "$CHRIMG" snapshot "$@"
}

# ALONE is what deleting frees: qemu-img counts allocated clusters of the file.
exclusive_is_what_is_freed() {
    local alone before after
    qemu-img create -q -f qcow2 alone.qcow2 8M
    qemu-io -f qcow2 -c 'write -P 1 0 3M' alone.qcow2 >/dev/null
    snapshot -c one alone.qcow2
    qemu-io -f qcow2 -c 'write -P 2 0 1M' alone.qcow2 >/dev/null
    snapshot -c two alone.qcow2
    qemu-io -f qcow2 -c 'write -P 3 0 1M' alone.qcow2 >/dev/null
    alone=$(snapshot --json alone.qcow2 | jq '.snapshots[0].exclusive')
    before=$(used_bytes alone.qcow2)
    snapshot -d one alone.qcow2
    after=$(used_bytes alone.qcow2)
    # The table of snapshots is a cluster before and after.
    [ "$alone" -ge $((1 << 20)) ] && [ $((before - after)) -eq "$alone" ] && return 0
    echo "said to be $alone bytes, freed $((before - after))"
    return 1
}

# Bytes of the file whose refcount is not 0; for refcounts of 16 bits and one refcount block.
used_bytes() {
    od -An -v -t u2 -w2 -j "$(refcount_place "$1" 0)" -N 65536 "$1" |
        awk '$1 != 0 { n++ } END { print n * 65536 }'
}

names_what_an_id_meant() {
    cp tags.qcow2 id.qcow2
    check_exit "applied by ID: the tag is said" 0 'applied snapshot plain \(ID 1\)$' \
        snapshot -a 1 --no-keep id.qcow2
    check_exit "deleted by ID: the tag is said" 0 'deleted snapshot plain \(ID 1\)$' snapshot -d 1 id.qcow2
}

# What can be created must be within reach of IMG@TAG.
refused_or_readable() { # TAG IMAGE
    snapshot -c "$1" "$2" || return 0
    "$CHRIMG" convert -f "$2@$1" tag.raw && snapshot -d "$1" "$2"
}

no_hint_of_deletion() { ! snapshot "$@" 2>&1 | grep -e ' -d '; }

tag_rules() {
    local tag
    qemu-img create -q -f qcow2 tags.qcow2 1M
    for tag in plain 'with a space' 'größer' 'снимок' '🐧' a/b -x --help "$(printf 'x%.0s' {1..255})"; do
        check "tag '${tag:0:20}': created" snapshot -c "$tag" tags.qcow2
        check_equal "tag '${tag:0:20}': qemu-img sees it" "$(tags_by_qemu tags.qcow2 | tail -n 1)" "$tag"
        check_exit "tag '${tag:0:20}': not twice" 1 'already' snapshot -c "$tag" tags.qcow2
        check "tag '${tag:0:20}': listed" grep -qF -- "$tag" <(snapshot tags.qcow2)
        check "tag '${tag:0:20}': read" "$CHRIMG" convert -f "tags.qcow2@$tag" tag.raw
        check "tag '${tag:0:20}': applied" snapshot -a "$tag" --no-keep tags.qcow2
        if [ "$tag" != plain ]; then
            check "tag '${tag:0:20}': deleted" snapshot -d "$tag" tags.qcow2
        fi
    done
    cp tags.qcow2 at.qcow2
    check "a tag with @: refused, or good for everything" refused_or_readable 'me@home' at.qcow2
    check_exit "no tag" 2 '1 to 255 bytes' snapshot -c '' tags.qcow2
    check_exit "a tag of 256 bytes" 2 '1 to 255 bytes' snapshot -c "$(printf 'x%.0s' {1..256})" tags.qcow2
    check_exit "a tag with a line feed" 2 'control character' snapshot -c $'a\nb' tags.qcow2
    check_exit "a tag that is not UTF-8" 2 'not UTF-8' snapshot -c $'a\xff' tags.qcow2
    check_exit "a tag that is an ID: whose" 1 '1 is the ID of the snapshot plain already' snapshot -c 1 tags.qcow2
    check "a tag that is an ID: no hint that would delete that snapshot" no_hint_of_deletion -c 1 tags.qcow2
    check_exit "a tag that is there: the way out" 1 'hint: .*snapshot -d plain tags.qcow2' snapshot -c plain tags.qcow2
    check_exit "an unknown tag, applied" 1 'no snapshot none' snapshot -a none tags.qcow2
    check_exit "an unknown tag: the way out" 1 'hint: .*snapshot -l' snapshot -d none tags.qcow2
    check_equal "all these changed nothing" "$(tags_by_qemu tags.qcow2)" plain
    names_what_an_id_meant
    check "what ALONE says is what deleting frees" exclusive_is_what_is_freed
}

# qemu-img lets tags be equal to each other, and to other snapshots' IDs.
ambiguous_names() {
    qemu-img create -q -f qcow2 twins.qcow2 1M
    qemu-img snapshot -c twin twins.qcow2
    qemu-io -f qcow2 -c 'write -P 1 0 64k' twins.qcow2 >/dev/null
    qemu-img snapshot -c twin twins.qcow2
    check_exit "two of one tag: refused" 2 'several snapshots are called twin' \
        snapshot -d twin twins.qcow2
    check_exit "two of one tag: the way out" 2 'hint: .*ID' "$CHRIMG" convert twins.qcow2@twin -
    check "two of one tag: listed" snapshot -l twins.qcow2
    check "two of one tag: by ID" snapshot -d 1 twins.qcow2
    check_equal "two of one tag: the other one stays" \
        "$("$CHRIMG" convert twins.qcow2@twin - | head -c 1 | od -An -tu1 | tr -d ' ')" 1
    check "two of one tag: sound" sound twins.qcow2
    # 2 is the ID of twin; now it is a tag, too, of ID 3, which holds other data.
    qemu-io -f qcow2 -c 'write -P 7 0 512k' twins.qcow2 >/dev/null
    qemu-img snapshot -c 2 twins.qcow2
    check_equal "a tag that is another's ID: each has its own size in the list" \
        "$(snapshot --json twins.qcow2 | jq -c '[.snapshots[] | {tag, alone: (.exclusive > 65536)}]')" \
        '[{"tag":"twin","alone":true},{"tag":"2","alone":false}]'
}

keeping() {
    qemu-img create -q -f qcow2 keep.qcow2 1M
    snapshot -c base keep.qcow2 >/dev/null
    qemu-io -f qcow2 -c 'write -P 5 0 64k' keep.qcow2 >/dev/null
    check_exit "-a keeps the present state" 0 'kept as before-apply-[0-9]{8}-[0-9]{6}' \
        snapshot -a base keep.qcow2
    # Within a second, most likely: the names must differ all the same.
    check "-a again" snapshot -a base keep.qcow2
    check "-a and again" snapshot -a base keep.qcow2
    check_equal "-a kept a state each time" \
        "$(tags_by_qemu keep.qcow2 | grep -cE '^before-apply-[0-9]{8}-[0-9]{6}(-[0-9]+)?$')" 3
    check_equal "-a: their names differ" "$(tags_by_qemu keep.qcow2 | sort | uniq -d)" ""
    check_equal "-a: the kept state is the one before" \
        "$("$CHRIMG" convert "keep.qcow2@$(tags_by_qemu keep.qcow2 | sed -n 2p)" - | head -c 1 |
            od -An -tu1 | tr -d ' ')" 5
    check "--no-keep" snapshot -a base --no-keep keep.qcow2
    check_equal "--no-keep keeps nothing" "$(tags_by_qemu keep.qcow2 | wc -l)" 4
    check_exit "an unknown snapshot: nothing is kept" 1 'no snapshot' snapshot -a none keep.qcow2
    check_equal "an unknown snapshot: the list is as it was" "$(tags_by_qemu keep.qcow2 | wc -l)" 4
    check "sound after it all" sound keep.qcow2
}

sizes() {
    qemu-img create -q -f qcow2 size.qcow2 1M
    snapshot -c small size.qcow2 >/dev/null
    qemu-img resize -q -f qcow2 size.qcow2 3M
    check "a snapshot of another size: applied" snapshot -a small size.qcow2
    check_equal "a snapshot of another size: the disk has its size" \
        "$(qemu-img info --output json size.qcow2 | jq '."virtual-size"')" $((1 << 20))
    check "a snapshot of another size: and back" \
        snapshot -a "$(tags_by_qemu size.qcow2 | tail -n 1)" --no-keep size.qcow2
    check_equal "a snapshot of another size: the disk is large again" \
        "$(qemu-img info --output json size.qcow2 | jq '."virtual-size"')" $((3 << 20))
    check_equal "the list says each size" \
        "$(snapshot --json size.qcow2 | jq -c '[.snapshots[].disk_size]')" "[$((1 << 20)),$((3 << 20))]"
    check "a snapshot of another size: sound" sound size.qcow2
    # Refcounts of one bit have no room for a second user of a cluster.
    qemu-img create -q -f qcow2 -o refcount_bits=1 narrow.qcow2 1M
    qemu-io -f qcow2 -c 'write 0 64k' narrow.qcow2 >/dev/null
    check_exit "refcounts of one bit: refused by name" 1 'refcount' snapshot -c tag narrow.qcow2
    check "refcounts of one bit: nothing happened" sound narrow.qcow2
}

# ---- snapshots that hold a VM ----

# QEMU with COMMANDS for its monitor, one a line; -S: the guest does not run.
monitor() { # IMAGE COMMANDS [OPTION...]
    printf '%s\nquit\n' "$2" | timeout 60 qemu-system-x86_64 -machine q35 -accel tcg -m 16 -display none \
        -S -monitor stdio -serial none -net none -drive "file=$1,format=qcow2,if=virtio" "${@:3}"
}

vm_state_size() { # IMAGE TAG
    snapshot --json "$1" | jq --arg tag "$2" '.snapshots[] | select(.tag == $tag).vm_state_size'
}

vm_starts_from() { # IMAGE TAG
    monitor "$1" 'info status' -loadvm "$2" >vm.log 2>&1 && grep -q 'VM status: paused' vm.log && return 0
    cat vm.log
    return 1
}

vm_snapshots() {
    local size
    cp chr.qcow2 vm.qcow2
    check "QEMU makes a snapshot with its VM" monitor vm.qcow2 'savevm running'
    cp vm.qcow2 by-qemu.qcow2
    size=$(qemu-img info --output json vm.qcow2 | jq '.snapshots[0]."vm-state-size"')
    check "it has one" test "$size" -gt 100000
    check_equal "it is listed with the size of the VM's state" "$(vm_state_size vm.qcow2 running)" "$size"
    check "another snapshot beside it" snapshot -c disk-only vm.qcow2
    qemu-io -f qcow2 -c 'write -P 1 0 1M' vm.qcow2 >/dev/null
    check "the other one, applied" snapshot -a disk-only vm.qcow2
    check "the one with the VM, applied" snapshot -a running vm.qcow2
    check "the other one, deleted" snapshot -d disk-only vm.qcow2
    check "fattened beside it" "$CHRIMG" fatten --in-place vm.qcow2
    check "the one with the VM, applied again" snapshot -a running --no-keep vm.qcow2
    check_equal "its size is as it was" "$(vm_state_size vm.qcow2 running)" "$size"
    check "QEMU starts from it" vm_starts_from vm.qcow2 running
    check "its disk is as it was" diff <("$CHRIMG" convert vm.qcow2@running - | sha256sum) \
        <(sha256sum <chr.img)
    check "sound" sound vm.qcow2
    check "the one with the VM, deleted" snapshot -d running vm.qcow2
    check "sound without it" sound vm.qcow2
    check "deleting it frees the VM's state" \
        test "$(used_bytes by-qemu.qcow2)" -gt $(($(used_bytes chr.qcow2) + 300000))
}

# ---- the image that is meant ----

meant_image() {
    mkdir none one several one/sub
    check_exit "no image: said so" 1 'no \*\.qcow2 in the current folder' env -C none "$CHRIMG" snapshot
    check_exit "no image: the way out" 1 'hint: .*CHRIMG_IMAGE' env -C none "$CHRIMG" snapshot -c tag
    cp chr.qcow2 one/router.qcow2
    qemu-img create -q -f qcow2 one/empty.qcow2 10M
    cp chr.img one/raw.qcow2.img
    echo text >one/text.qcow2
    check_exit "one image: it is meant" 0 'router.qcow2: created' env -C one "$CHRIMG" snapshot -c tag
    check_equal "one image: it has the snapshot" "$(tags_by_qemu one/router.qcow2)" tag
    check_exit "one image: listed" 0 'tag' env -C one "$CHRIMG" snapshot
    check_exit "one image: compared" 0 'no file differs' env -C one "$CHRIMG" snapshot --diff tag
    cp chr.qcow2 several/a.qcow2
    cp chr.qcow2 several/b.QCOW2
    check_exit "several: refused" 1 '2 images could be meant' env -C several "$CHRIMG" snapshot -c tag
    for name in a.qcow2 b.QCOW2; do
        check_exit "several: $name is listed" 1 "$name" env -C several "$CHRIMG" snapshot -c tag
        check_equal "several: $name is not changed" "$(tags_by_qemu several/$name)" ""
    done
    check_exit "CHRIMG_IMAGE: it is meant" 0 '../one/router.qcow2: created snapshot second' \
        env -C several CHRIMG_IMAGE=../one/router.qcow2 "$CHRIMG" snapshot -c second
    check_exit "CHRIMG_IMAGE: the command line goes before" 0 'a.qcow2: created' \
        env -C several CHRIMG_IMAGE=../one/router.qcow2 "$CHRIMG" snapshot -c third a.qcow2
    check_exit "CHRIMG_IMAGE: not there" 1 'nowhere.qcow2: No such file' \
        env -C several CHRIMG_IMAGE=nowhere.qcow2 "$CHRIMG" snapshot -c tag
    check_exit "CHRIMG_IMAGE: empty is as if not set" 1 '2 images could be meant' \
        env -C several CHRIMG_IMAGE= "$CHRIMG" snapshot -c tag
}

# ---- what cannot have snapshots, wrong command lines ----

refused() { # NAME STATUS PATTERN ARGUMENT...
    local before
    before=$(state_here)
    check_exit "refused: $1" "$2" "$3" snapshot "${@:4}"
    check "refused: $1: nothing changed" diff <(echo "$before") <(state_here)
}

refusals() {
    refused "a raw image" 1 'raw image, which cannot hold snapshots' -c tag chr.img
    refused "a raw image: the way out" 1 'hint: chrimg convert chr.img chr.qcow2' -a tag chr.img
    refused "a raw image without an ending" 1 'hint: chrimg convert plain plain.qcow2' -d tag plain
    refused "a zip" 1 'zip' -c tag chr.img.zip
    refused "a snapshot" 1 'only be read' -c tag tags.qcow2@plain
    refused "an image that is not there" 1 'none.qcow2: No such file' -c tag none.qcow2
    refused "two things at a time" 2 'at a time' -c tag -d tag chr.qcow2
    refused "a list and a change" 2 'at a time' -l -c tag chr.qcow2
    refused "two images" 2 'one image at a time' -c tag chr.qcow2 tags.qcow2
    refused "-c without a tag" 2 'wants a value' -c
    refused "an unknown option" 2 'no option --rename' --rename chr.qcow2
    refused "--diff of an unknown snapshot" 1 'no snapshot none' --diff none chr.qcow2
    refused "--diff with an unknown snapshot" 1 'no snapshot none' --diff plain none tags.qcow2
}

# ---- differences ----

# change_files IMAGE: on the raw disk.
change_files() {
    local root boot
    root="$1?offset=$(($(partition_start "$1" 2) * 512))"
    boot="$1?offset=$(($(partition_start "$1" 1) * 512))"
    echo 'a new file' >new
    printf '\n#' >changed # as long as before
    debugfs -w "$root" <<'COMMANDS'
write new rw/new.txt
rm UPGRADED
rm rw/autorun.scr
write changed rw/autorun.scr
mkdir rw/folder
write new rw/folder/inside
sif SHOW_LICENSE mode 0100755
COMMANDS
    debugfs -w -R 'write new new-on-boot' "$boot"
}

DIFFERENCES="added    boot:/new-on-boot  11 bytes
changed  root:/SHOW_LICENSE
removed  root:/UPGRADED
changed  root:/rw/autorun.scr  2 bytes
added    root:/rw/folder/
added    root:/rw/folder/inside  11 bytes
added    root:/rw/new.txt  11 bytes"

differences() {
    cp --sparse=always chr.img changed.img
    check "the files are changed" change_files changed.img
    cp chr.qcow2 diff.qcow2
    snapshot -c before diff.qcow2 >/dev/null
    # -n: into the image that is there.
    qemu-img convert -n -f raw -O qcow2 changed.img diff.qcow2
    check_equal "--diff A: what changed since" "$(snapshot --diff before diff.qcow2)" "$DIFFERENCES"
    snapshot -c after diff.qcow2 >/dev/null
    check_equal "--diff A B" "$(snapshot --diff before after diff.qcow2)" "$DIFFERENCES"
    check_equal "--diff B A: the other way round" "$(snapshot --diff after before diff.qcow2 |
        sed 's/^added  /ADDED  /; s/^removed/added  /; s/^ADDED  /removed/')" "$DIFFERENCES"
    check_equal "--diff by IDs" "$(snapshot --diff 1 2 diff.qcow2)" "$DIFFERENCES"
    check_exit "--diff A A" 0 'no file differs' snapshot --diff before before diff.qcow2
    check_equal "--diff --json: the same" \
        "$(snapshot --diff before after --json diff.qcow2 | jq -r '.differences[] |
            [.difference, .partition, .path, (.old_size | tostring), (.new_size | tostring)] | join(" ")')" \
        "added boot new-on-boot 0 11
changed root SHOW_LICENSE 0 0
removed root UPGRADED 0 0
changed root rw/autorun.scr 2 2
added root rw/folder/ 0 0
added root rw/folder/inside 0 11
added root rw/new.txt 0 11"
    check "fattened" "$CHRIMG" fatten --in-place diff.qcow2
    check_equal "--diff: fattening changes no file" "$(snapshot --diff after diff.qcow2)" \
        "removed  boot:/lost+found/"
    check "sound after it all" sound diff.qcow2
}

# journal_changes OLD NEW OUT: OUT is OLD, with the root of NEW in its root's journal only.
journal_changes() {
    local start sectors list
    start=$(partition_start "$1" 2)
    sectors=$(partition_sectors "$1" 2)
    dd if="$1" of=old.root bs=512 skip="$start" count="$sectors" status=none
    dd if="$2" of=new.root bs=512 skip="$start" count="$sectors" status=none
    # But for the superblock, which says that there is a journal to be replayed.
    list=$(cmp -l old.root new.root | awk '{ block = int(($1 - 1) / 4096) } block > 0 && !seen[block]++ { print block }')
    for block in $list; do dd if=new.root bs=4096 skip="$block" count=1 status=none; done >blocks
    printf 'jo\njw -b %s blocks\njc\n' "$(paste -sd, <<<"$list")" | debugfs -w -f - old.root
    dumpe2fs -h old.root | grep -q needs_recovery || return
    cp --sparse=always "$1" "$3"
    dd if=old.root of="$3" bs=512 seek="$start" conv=notrunc status=none
}

# As a snapshot of a running router has it.
journaled_differences() {
    check "changes are in the journal alone" journal_changes chr.img changed.img dirty.img
    cp chr.qcow2 dirty.qcow2
    snapshot -c before dirty.qcow2 >/dev/null
    qemu-img convert -n -f raw -O qcow2 dirty.img dirty.qcow2
    sha256sum dirty.qcow2 >dirty.sum
    check_equal "--diff: the journal counts" "$(snapshot --diff before dirty.qcow2)" \
        "$(grep root: <<<"$DIFFERENCES")"
    check "and stays as it is" sha256sum -c dirty.sum
}

# A process that holds the image as QEMU does, and a file system that is half written.
torn_read_is_said() {
    local holder
    cp diff.qcow2 torn.qcow2
    cp --sparse=always changed.img torn.img
    # The file is there, its inode is not.
    debugfs -w -R 'clri rw/new.txt' "torn.img?offset=$(($(partition_start torn.img 2) * 512))" 2>debugfs.log
    qemu-img convert -n -f raw -O qcow2 torn.img torn.qcow2
    check_exit "--diff of a damaged disk" 3 'inode' snapshot --diff before torn.qcow2
    mkfifo hold
    qemu-io -f qcow2 torn.qcow2 <hold >held.log &
    holder=$!
    exec 9>hold
    # Its prompt comes when it has the image; who looks at the image meanwhile may keep it from that.
    until grep -q 'qemu-io>' held.log || ! kill -0 "$holder"; do sleep 0.05; done
    check_exit "--diff -U: a torn read is said to be one" 1 'torn.qcow2: changed while it was read' \
        snapshot -U --diff before torn.qcow2
    check_exit "--diff -U: the way out" 1 'hint: chrimg snapshot -c b torn.qcow2, then' \
        snapshot -U --diff before torn.qcow2
    exec 9>&-
    wait "$holder"
}

# ---- IMG@TAG, JSON ----

states_by_name() {
    check_equal "info IMG@TAG: the state of then" \
        "$("$CHRIMG" info --json diff.qcow2@before | jq -c '[.uefi.yes, ([.files[].path] | index("new-on-boot"))]')" \
        '[false,null]'
    check_equal "info IMG: the state of now" \
        "$("$CHRIMG" info --json diff.qcow2 | jq -c '[.uefi.yes, ([.snapshots[].tag] | sort)]')" \
        '[true,["after","before"]]'
    check_exit "info IMG: lists the snapshots" 0 'before' "$CHRIMG" info diff.qcow2
    check "extract IMG@TAG" "$CHRIMG" extract diff.qcow2@after -o after.files
    check_equal "extract IMG@TAG: the files of then" "$(cat after.files/new-on-boot)" 'a new file'
    check "extract IMG@TAG, before" "$CHRIMG" extract diff.qcow2@before -o before.files
    check "extract IMG@TAG, before: not the new ones" test ! -e before.files/new-on-boot
    check "convert IMG@TAG" "$CHRIMG" convert diff.qcow2@before before.img
    check "convert IMG@TAG: the disk of then" cmp before.img chr.img
    check "fatten IMG@TAG -o" "$CHRIMG" fatten diff.qcow2@before -o before-efi.qcow2
    check_exit "fatten --in-place IMG@TAG" 1 'only be read|in place' \
        "$CHRIMG" fatten --in-place diff.qcow2@before
    check_exit "info IMG@ of an unknown tag" 1 'no snapshot none' "$CHRIMG" info diff.qcow2@none
}

# json NAME JQ ARGUMENT...: the report is one JSON object for which JQ holds.
json() {
    check "--json: $1" jq -es "length == 1 and (.[0] | $2)" <(snapshot --json "${@:3}")
}

json_reports() {
    cp chr.qcow2 json.qcow2
    json "no snapshots" '[.schema, .image, .snapshots] == [1, "json.qcow2", []]' json.qcow2
    json "created" '[.schema, .action, .tag, .kept] == [1, "created", "ein \"Tag\"", null]' \
        -c 'ein "Tag"' json.qcow2
    json "listed" '.snapshots[0] | keys == ["date", "disk_size", "exclusive", "id", "tag", "vm_state_size"]' \
        json.qcow2
    json "listed: today's date" '(now - (.snapshots[0].date | fromdate)) | . >= -1 and . < 600' json.qcow2
    json "applied" '.action == "applied" and (.kept | startswith("before-apply-"))' -a 1 json.qcow2
    json "applied, not kept" '[.action, .kept] == ["applied", null]' -a 1 --no-keep json.qcow2
    json "compared" '[.from, .to, .differences] == ["1", null, []]' --diff 1 json.qcow2
    json "deleted" '[.action, .tag, .kept] == ["deleted", "1", null]' -d 1 json.qcow2
    check_exit "--json: an error is a message" 1 '^chrimg: ' snapshot --json -d 1 json.qcow2
    check_equal "--json: an error leaves standard output empty" \
        "$(snapshot --json -d 1 json.qcow2 2>/dev/null)" ""
}

RANDOM=19700101
step=0
random_steps 60 cluster_size=64k
random_steps 40 cluster_size=512,lazy_refcounts=on
random_steps 30 compat=0.10,cluster_size=4k
random_steps 40 cluster_size=1k,refcount_bits=64,compression_type=zstd -c
random_steps 30 cluster_size=2M,refcount_bits=4
check_equal "200 random steps" "$step" 200

"$MKCHR" 7.19 chr.img
ln chr.img plain
qemu-img convert -f raw -O qcow2 chr.img chr.qcow2
zip -q chr.img.zip chr.img
tag_rules
ambiguous_names
keeping
sizes
vm_snapshots
meant_image
refusals
differences
journaled_differences
states_by_name
torn_read_is_said
json_reports
done_testing
