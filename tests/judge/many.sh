#!/usr/bin/env bash
# Thousands of files put at once, into folders with and without an index, again, and where
# others were removed, and a file that is larger than the memory for it: judged by e2fsck
# and debugfs.
# shellcheck disable=SC2034,SC2317 # IN_MEMORY is read by lib.sh; functions are called through check
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
needs_tool e2fsck debugfs

COUNT=3000

# make_files FOLDER FROM TO: names of many lengths, so that gaps of many sizes come up.
make_files() {
    local i name=abcdefghijklmnopqrstuvwxyz
    mkdir -p "$1"
    for ((i = $2; i < $3; i++)); do
        echo "$1 $i" >"$1/${name:0:i*7%26}$i"
    done
}
sound() {
    local output
    partition new.img 2 new.part
    output=$(e2fsck -fn new.part 2>&1) && return 0
    echo "$output"
    return 1
}
listed() { # FOLDER: how many names debugfs finds there
    debugfs -R "ls -p $1" new.part 2>/dev/null | awk -F/ '$6 != "" && $6 != "." && $6 != ".."' | wc -l
}
same_files() { # FOLDER-OF-THE-IMAGE WANTED
    rm -rf dump
    mkdir dump
    debugfs -R "rdump $1 dump" new.part >/dev/null 2>&1
    diff -r "dump/${1##*/}" "$2"
}

"$MKCHR" 7.20 new.img
"$CHRIMG" resize new.img 512M >/dev/null

echo "old" >old.rsc
make_files many 0 $COUNT
check "$COUNT files" "$CHRIMG" inject new.img --file many
check "e2fsck finds nothing" sound
check_equal "debugfs lists them all" "$(listed /rw/disk/many)" $COUNT
check "with their bytes" same_files /rw/disk/many many

cp --sparse=always new.img kept.img
check_exit "once more is refused" 1 'is there already' "$CHRIMG" inject new.img --file many
check "and changes nothing" cmp new.img kept.img
check "the same with --replace" "$CHRIMG" inject new.img --replace --file many
check "changes not a byte" cmp new.img kept.img

for file in many/*; do echo "another" >>"$file"; done
check "others with --replace" "$CHRIMG" inject new.img --replace --file many
check "e2fsck finds nothing" sound
check "their bytes are the new ones" same_files /rw/disk/many many
check_exit "a file twice among them is found" 2 'many/0 is given twice' \
    "$CHRIMG" inject new.img --replace --file many --file many/0:many/

# An index, as the kernel would have made it.
partition new.img 2 new.part
e2fsck -fyD new.part >/dev/null 2>&1
dd if=new.part of=new.img bs=1M oflag=seek_bytes conv=notrunc status=none \
    seek=$(($(partition_start new.img 2) * 512))
check "the folder has an index now" grep -q 'Flags: 0x[0-9a-f]*1[0-9a-f]\{3\}$' \
    <(debugfs -R 'stat /rw/disk/many' new.part 2>/dev/null | grep -o 'Flags: 0x[0-9a-f]*')
make_files more $COUNT $((COUNT + 1500))
check "1500 more into it" "$CHRIMG" inject new.img --file more:many
check "e2fsck finds nothing" sound
check_equal "debugfs lists them all" "$(listed /rw/disk/many)" $((COUNT + 1500))
cp more/* many/
check "with their bytes" same_files /rw/disk/many many

remove_some() {
    local file
    for file in many/*77; do
        "$CHRIMG" rm "new.img:/rw/disk/$file" >/dev/null && rm "$file" || return 1
    done
}
check "files removed" remove_some
check "files where they were" "$CHRIMG" inject new.img --file old.rsc:many/"$(printf '%0100d' 1)" \
    --file old.rsc:many/x
cp old.rsc "many/$(printf '%0100d' 1)"
cp old.rsc many/x
check "e2fsck finds nothing" sound
check "nothing else changed" same_files /rw/disk/many many

# ---- folders ----

for ((i = 0; i < 400; i++)); do make_files "deep/$i/sub" 0 2; done
check "hundreds of folders" "$CHRIMG" inject new.img --file deep
check "e2fsck finds nothing" sound
check "with what is in them" same_files /rw/disk/deep deep

# ---- a large file ----

# in_memory KIB COMMAND...
in_memory() {
    (
        if ! under_sanitizer "$CHRIMG"; then ulimit -v "$1"; fi
        "${@:2}"
    )
}
folder_is_tidy() {
    local output
    output=$(find . -name '.*chrimg*' -o -name '.*#*')
    [ -z "$output" ] && return 0
    echo "$output"
    return 1
}

mkdir large
yes "a line of a large file" | head -c 150M >large/file
check "150 MB with 64 MiB of memory" in_memory 65536 "$CHRIMG" inject new.img --file large
check "nothing is left beside the image" folder_is_tidy
check "e2fsck finds nothing" sound
check "with its bytes" same_files /rw/disk/large large
yes "another line" | head -c 120M >large/file
check "and another instead of it" in_memory 65536 "$CHRIMG" inject new.img --replace --file large
check "e2fsck finds nothing" sound
check "with its bytes" same_files /rw/disk/large large

done_testing
