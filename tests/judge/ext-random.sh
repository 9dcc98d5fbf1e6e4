#!/usr/bin/env bash
# Random steps of inject, cp and rm on the root partition of disk images, each judged by others:
# e2fsck finds nothing, debugfs reads back the very bytes, no name, mode, owner, size, time or
# byte of another file changes, nor a sector outside of the partition, nor a snapshot.
#
# RANDOM_SEED=N makes other steps, RANDOM_TIMES=N so many times as many.
# shellcheck disable=SC2034 # read by the libraries
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
# shellcheck source=../ext/lib.sh
. "$SRC/tests/ext/lib.sh"
# shellcheck source=../ext/random.sh
. "$SRC/tests/ext/random.sh"
needs_tool mke2fs e2fsck debugfs sgdisk sfdisk qemu-img

# ---- what a step puts ----

new_path() { # sets `path` to a new name in a folder of the model
    local name
    draw_path -type d
    random 90
    name=$(printf "new-$step-%0$((drawn + 1))d" 7)
    if ((drawn % 6 == 0)); then name="größer $name"; fi
    path=${path:+$path/}$name
}

any_file() { # sets `path` to a file that may be replaced (the script is text), or to a new name
    random 3
    path=
    if [ "$drawn" -gt 0 ]; then draw_path -regextype posix-extended -type f ! -regex "$kept|./rw/autorun.scr"; fi
    if [ -z "$path" ]; then new_path; fi
}

make_content() { # FILE
    local sizes=(0 1 700 1024 4096 5000 13000 49152 70000 300000 1500000)
    random ${#sizes[@]}
    yes "# content of step $step, $1" | head -c "${sizes[drawn]}" >"$1"
}

make_folder() { # a folder `source` with some files, and one that is empty
    local count
    rm -rf source
    mkdir -p source/empty source/sub
    random 12
    for ((count = drawn; count > 0; count--)); do make_content "source/sub/file $count"; done
    make_content source/first
}

# make_script NAME: what inject makes of it is in `script`.
make_script() {
    random 4000
    seq -f "/ip address add address=192.0.2.%g/24 interface=ether$step" "$drawn" $((drawn + drawn / 9)) >"$1"
    { printf '# from %s\n/\n' "$1"; cat "$1"; } >script
}

# ---- steps ----
#
# Each sets `arguments` and `touched`, and makes in the folder `wanted` what there will be of it.

# want PATH [FILE]: nothing at PATH, or what FILE is.
want() {
    touched+=("$1")
    if [ $# -eq 2 ]; then
        mkdir -p "wanted/$(dirname "$1")"
        cp -r "$2" "wanted/$1"
    fi
}

# want_script [append]: with the script in rw/autorun.scr.
want_script() {
    local old=model/rw/autorun.scr
    : >both
    if [ "${1:-}" = append ] && [ -s "$old" ]; then
        cp "$old" both
        if [ -n "$(tail -c 1 both)" ]; then echo >>both; fi
        if ! grep -q '[^[:space:]]' both; then : >both; fi
    fi
    cat script >>both
    want rw/autorun.scr both
}

step_inject_script() {
    local how
    random 2
    how=$([ "$drawn" = 0 ] && echo append || echo replace)
    make_script step.rsc
    arguments=(inject "--$how" "$image" step.rsc)
    want_script "$how"
}

step_inject_put() {
    any_file
    make_content content
    random 512
    mode=$(printf '%04o' "$drawn")
    arguments=(inject --replace --put "content:/$path" --mode "$mode" "$image")
    want "$path" content
}

step_inject_file() {
    local name=file-$((step % 5))
    make_content content
    arguments=(inject --replace --file "content:$name" "$image")
    want "rw/disk/$name" content
}

# All that inject does, in one change.
step_inject_all() {
    make_script step.rsc
    make_folder
    any_file
    make_content content
    arguments=(inject --replace --file "source:all-$step" --put "content:/$path" "$image" step.rsc)
    want_script
    want "rw/disk/all-$step" source
    want "$path" content
}

step_copy_file() {
    any_file
    make_content content
    arguments=(cp -f content "$image:/$path")
    want "$path" content
}

step_copy_folder() {
    make_folder
    new_path
    arguments=(cp -r source "$image:/$path")
    want "$path" source
}

# Into a folder that is there; what it holds of that name is replaced.
step_copy_into() {
    make_folder
    draw_path -regextype posix-extended -type d ! -regex "$kept"
    arguments=(cp -rf source "$image:/$path")
    path=${path:+$path/}source
    if [ -e "model/$path" ]; then cp -rT "model/$path" merged && cp -rT source merged; fi
    if [ -e merged ]; then want "$path" merged; else want "$path" source; fi
    rm -rf merged
}

step_copy_out() {
    rm -rf taken
    draw_path -mindepth 1
    arguments=(cp -r "$image:/$path" taken)
}

step_remove() {
    draw_path -regextype posix-extended -type f ! -regex "$kept"
    arguments=(rm "$image:/$path")
    want "$path"
}

step_remove_folder() {
    draw_path -regextype posix-extended -mindepth 1 -type d ! -regex "$kept"
    arguments=(rm -r "$image:/$path")
    want "$path"
}

verbs=(inject_script inject_put inject_put inject_file inject_all copy_file copy_file copy_file
    copy_folder copy_into copy_out remove remove remove_folder)

choose_step() {
    rm -rf wanted
    touched=() path='' mode=''
    random ${#verbs[@]}
    verb=${verbs[drawn]}
    "step_$verb"
    # Nothing there to be removed or taken.
    if [ -z "$path" ] && [[ $verb == remove* || $verb == copy_out ]]; then
        verb=inject_file touched=()
        step_inject_file
    fi
}

# ---- doing them ----

# touched: the topmost folder that the step makes, where it makes one.
widen_touched() {
    local i
    for i in "${!touched[@]}"; do
        while [[ ${touched[i]} == */* ]] && [ ! -e "model/${touched[i]%/*}" ]; do
            touched[i]=${touched[i]%/*}
        done
    done
}

follow() {
    local path
    for path in "${touched[@]}"; do
        rm -rf "model/$path"
    done
    if [ -d wanted ]; then cp -r wanted/. model; fi
}

# Whether the step succeeded; it may have had no room.
do_step() {
    local written
    written=$(stat -c %y "$image")
    if "$CHRIMG" "${arguments[@]}" >log 2>&1; then
        changed=$((changed + 1))
        if [ "$verb" != copy_out ]; then return 0; fi
        diff -r taken "model/$path" >log 2>&1 || complain "$(head -n 3 log)"
    elif grep -qE 'bytes? (is|are) missing|inode is missing' log; then
        full=$((full + 1))
    else
        complain "$(cat log)"
    fi
    [ "$(stat -c %y "$image")" = "$written" ] || complain "the image was written to"
    return 1
}

# random_steps NAME COUNT KEPT IMAGE [ROOT-NUMBER]: on disk.img, or on a qcow2 of it.  Paths
# that match KEPT are neither removed nor replaced.
random_steps() {
    local name=$1 count=$(($2 * ${RANDOM_TIMES:-1}))
    kept=$3
    complaints=0 changed=0 full=0 step=0 verb=begin
    touched=()
    RANDOM=$((SEED++))
    begin_steps "$4" "${5:-2}" || complain "debugfs cannot read the image"
    for ((step = 1; step <= count; step++)); do
        export SOURCE_DATE_EPOCH=$((1700000000 + step))
        choose_step
        if do_step; then
            widen_touched
            follow
            judge_step
        fi
        if [ $((step % 25)) -eq 0 ]; then judge_all; fi
    done
    judge_all
    if [ $complaints -eq 0 ]; then
        ok "$name: $changed steps done, $full refused for want of room"
    else
        not_ok "$name" "$complaints complaints"
    fi
}

# ---- the disks ----

# make_tree BYTES: a router's root in small, with a package of that size.
make_tree() {
    local i
    rm -rf tree
    mkdir -p tree/rw/disk tree/var/pdb/system tree/names
    echo / >tree/rw/autorun.scr
    head -c "$1" /dev/zero | tr '\0' x >tree/var/pdb/system/image
    for ((i = 0; i < 300; i++)); do echo $i >"tree/names/a_name_that_is_not_short_$i"; done
}
package='\./(var(/pdb(/system(/image)?)?)?|names)'


# small_disks TABLES TYPE BLOCK-SIZE JOURNAL KIB: one with room, and one of KIB with little.
# JOURNAL is the smallest that mke2fs makes with such blocks, in MiB.
small_disks() {
    local name="$2, blocks of $3, tables: $1"
    make_tree 200000
    check "$name: a disk" make_disk "$1" 16384 -t "$2" -b "$3" -N 2000
    random_steps "$name" 40 "$package" disk.img
    make_tree 2600000
    check "$name: a small disk" make_disk "$1" "$5" -t "$2" -b "$3" -N 600 -m 2 -J size="$4" \
        -O ^resize_inode
    random_steps "$name, nearly full" 30 "$package" disk.img
}
sums=yes
small_disks gpt ext3 1024 1 5120
small_disks mbr ext3 4096 4 9216
small_disks mbr ext4 1024 1 5120
small_disks gpt ext4 4096 4 9216

make_tree 200000
check "a disk for a qcow2" make_disk gpt 16384 -t ext3 -b 1024 -N 2000
random_steps "ext3 in a qcow2" 20 "$package" disk.qcow2
check "a stand-in" "$MKCHR" 7.20 disk.img
random_steps "7.20 in a qcow2" 15 "$package" disk.qcow2
check "RouterOS 6" "$MKCHR" v6 disk.img
# What is in boot/ is not replaced: the BIOS loader may know its sectors.
random_steps "one partition" 15 "$package|\./boot(/.*)?" disk.img 1

# ---- 30 000 files ----
#
# In hashed folders, where a name is found by its hash alone.  The index of many-0, which stays,
# has two levels: with blocks of 4 KiB that takes names as long as they can be.

# make_many NAMES-IN-MANY-0 DIGITS
make_many() {
    make_tree 200000
    mkdir tree/many-{0..9}
    {
        seq -f "many-0/one_of_many_files_with_a_long_name_%0$2g" "$1"
        seq $((30000 - $1)) | sed 's|\(.*\)\(.\)|many-\2/one_of_many_files_with_a_long_name_\1\2|'
    } | (cd tree && xargs touch)
}

# With checksums mke2fs takes a minute for them.
add_checksums() {
    local at
    at="disk.img?offset=$(($(partition_start disk.img 2) * 512))"
    tune2fs -O metadata_csum "$at"
    e2fsck -fyD "$at" >/dev/null
    is_clean "$at" && dumpe2fs -h "$at" 2>&1 | grep -q metadata_csum
}

# many_files TYPE BLOCK-SIZE MIB
many_files() {
    check "$1, blocks of $2, 30 000 files: a disk" make_disk gpt $(($3 * 1024)) -t "$1" -b "$2" \
        -O ^metadata_csum -N 40000
    if [ "$1" = ext4 ]; then check "it gets checksums" add_checksums; fi
    random_steps "$1, blocks of $2, 30 000 files" 12 './many-0' disk.img
    debugfs -R "htree_dump /many-0" "$root" >htree 2>/dev/null
    check "its index has two levels" grep -q 'Indirect levels: 1' htree
}
sums=no
make_many 3000 5
many_files ext3 1024 40
make_many 8000 215
many_files ext4 4096 64

done_testing
