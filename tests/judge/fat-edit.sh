#!/usr/bin/env bash
# Files put on and removed from a FAT, judged after every step: fsck.fat has no complaint,
# mtools has every file with its name and bytes, and no other file has moved.
IN_MEMORY=yes
. "$(dirname "$0")/lib.sh"
needs_tool mkfs.fat fsck.fat mcopy mdir mshowfat mattrib mlabel

STEPS=$BUILD/tests/fat/steps
export MTOOLS_SKIP_CHECK=1
RANDOM=4711

# fsck.fat says its version and its summary, and nothing else.
fsck_is_silent() { # IMAGE
    local output
    output=$(fsck.fat -n "$1" 2>&1) && [ "$(wc -l <<<"$output")" = 2 ] && return 0
    echo "$output"
    return 1
}

# Everything mtools finds is what the folder MODEL has, names included.
same_as_model() { # IMAGE
    rm -rf found
    mkdir found
    if [ -n "$(ls -A model)" ]; then fat_dump "$1" found || return 1; fi
    diff -r model found
}

# The clusters of every file, by mshowfat: "PATH <2-5>".
where_files_are() { # IMAGE
    local paths=()
    mapfile -t paths < <(cd model && find . -type f -printf '::/%P\n' | sort)
    if [ ${#paths[@]} -gt 0 ]; then mshowfat -i "$1" "${paths[@]}"; fi
}

# Whether no file moved but TOUCHED (and what is below it).
others_stayed() { # OLD NEW TOUCHED
    local touched=$3
    # What was removed is missing in the new list, what was made is new in it.
    awk -v touched="::/$touched" '
        { path = $0; sub(/ *(<[0-9-]+>[ ,]*)*$/, "", path) }
        path == touched || index(path, touched "/") == 1 { next }
        NR == FNR { where[path] = $0; next }
        !(path in where) || where[path] != $0 { print "moved: " $0; bad = 1 }
        { delete where[path] }
        END { for (path in where) { print "gone: " path; bad = 1 } exit bad }' "$1" "$2"
}

names=(KERNEL map "long name.txt" config.rsc BOOTX64.EFI
    "a b c d e f g h i j k l m n o p.tar.gz" Grüße.txt
    "long name 2.txt" "long name 3.txt" UPPER.TXT lower.txt .hidden "x+y=z,;.cfg" 日本語
    "$(printf 'n%.0s' {1..200}).rsc" "long nametoo" "long nametoo2")

# A path in the model's folders: one that is there or a new one.
random_path() {
    local folders=()
    mapfile -t folders < <(cd model && find . -type d -printf '%P\n' | sort)
    local folder=${folders[RANDOM % ${#folders[@]}]}
    path=${folder:+$folder/}${names[RANDOM % ${#names[@]}]}
}

# One random step on IMAGE and on the model.
random_step() {
    local kind=$((RANDOM % 10)) size
    random_path
    if [ -d "model/$path" ] && [ "$kind" -lt 6 ]; then kind=9; fi
    case "$kind" in
    [0-5])
        size=$((RANDOM % 4 == 0 ? RANDOM * 4 % 70000 : RANDOM % 3000))
        head -c "$size" /dev/urandom >new
        step="put $path ($size bytes)"
        answer=$("$STEPS" "$1" put "$path" new) || { refused; return; }
        cp new "model/$path"
        ;;
    6 | 7)
        step="mkdir $path"
        if [ -e "model/$path" ]; then
            ! answer=$("$STEPS" "$1" mkdir "$path") && [[ $answer == "3 "* ]]
            return
        fi
        answer=$("$STEPS" "$1" mkdir "$path") || { refused; return; }
        mkdir "model/$path"
        ;;
    8)
        step="rm $path"
        if [ ! -e "model/$path" ]; then
            ! answer=$("$STEPS" "$1" rm "$path") && [[ $answer == "2 "* ]]
        elif [ -d "model/$path" ] && [ -n "$(ls -A "model/$path")" ]; then
            ! answer=$("$STEPS" "$1" rm "$path") && [[ $answer == "8 "* ]]
        else
            answer=$("$STEPS" "$1" rm "$path") && rm -r "model/${path:?}"
        fi
        ;;
    9)
        step="rmtree $path"
        if [ ! -e "model/$path" ]; then
            ! answer=$("$STEPS" "$1" rmtree "$path") && [[ $answer == "2 "* ]]
        else
            answer=$("$STEPS" "$1" rmtree "$path") && rm -r "model/${path:?}"
        fi
        ;;
    esac
}

# Nothing but a want of room may refuse; a step that was refused has changed nothing.
refused() {
    [[ $answer == "4 "*missing* ]] && refusals=$((refusals + 1)) && cmp before "$image"
}

# run_steps IMAGE COUNT: random steps, each judged; stops at the first that is not good.
run_steps() {
    local image=$1 count=$2 path='' step='' answer='' refusals=0
    where_files_are "$image" >old.where
    for ((i = 1; i <= count; i++)); do
        cp "$image" before
        if ! random_step "$image"; then
            echo "step $i: $step: $answer"
            return 1
        fi
        where_files_are "$image" >new.where
        if ! fsck_is_silent "$image" || ! same_as_model "$image" ||
            ! others_stayed old.where new.where "$path"; then
            echo "after step $i: $step"
            return 1
        fi
        mv new.where old.where
    done
    echo "$image: $refusals of $count steps found no room"
}

new_model() {
    rm -rf model
    mkdir model
}

# ---- FATs of mkfs.fat ----

make_fat() { # NAME KIB OPTIONS...
    local name=$1 kib=$2
    shift 2
    rm -f "$name"
    truncate -s "${kib}K" "$name"
    mkfs.fat --invariant -n "KEEP ME" "$@" "$name" >/dev/null
    new_model
}

make_fat fat12 500 -F 12 -s 1
check "120 steps on a FAT12 that gets full" run_steps fat12 120
check_equal "its label is as it was" "$(mlabel -s -i fat12 ::)" " Volume label is KEEP ME    "
make_fat fat16 9000 -F 16 -s 4 -r 112
check "100 steps on a FAT16" run_steps fat16 100
make_fat fat32 36000 -F 32 -s 1
check "100 steps on a FAT32" run_steps fat32 100
check_equal "its label is as it was too" "$(mlabel -s -i fat32 ::)" " Volume label is KEEP ME    "
make_fat sectors 20000 -F 16 -S 4096 -s 1 -f 1
check "20 steps on sectors of 4096 bytes and one table" run_steps sectors 20

# ---- a FAT of ours ----

"$MKCHR" 7.19 chr.img
"$CHRIMG" fatten chr.img -o fat.img >/dev/null 2>&1
partition fat.img 1 ours
new_model
rm -rf model
fat_dump ours model
kernel=$(fat_sectors ours EFI/BOOT/BOOTX64.EFI "$(stat -c %s model/EFI/BOOT/BOOTX64.EFI)")
names+=(EFI)
check "30 steps on the FAT of fatten" run_steps ours 30

partition fat.img 1 ours
rm -rf model
fat_dump ours model
size=$(stat -c %s model/EFI/BOOT/BOOTX64.EFI)
head -c "$size" /dev/urandom >model/EFI/BOOT/BOOTX64.EFI
check "another kernel of the same size is put" \
    "$STEPS" ours put efi/boot/bootx64.efi model/EFI/BOOT/BOOTX64.EFI
check_equal "on the very sectors of the old one" \
    "$(fat_sectors ours EFI/BOOT/BOOTX64.EFI "$(stat -c %s model/EFI/BOOT/BOOTX64.EFI)")" "$kernel"
check "under the name that it had" same_as_model ours
check "without a complaint" fsck_is_silent ours

# ---- attributes, names, room ----

make_fat attributes 2000 -F 12
echo one >one
echo two, which is longer >two
mcopy -i attributes one ::/IO.SYS
mattrib +r +h +s -i attributes ::/IO.SYS
"$STEPS" attributes put io.sys two 644 1000000000
check_equal "hidden, system and read-only stay with what is put in a file's place" \
    "$(mattrib -i attributes ::/IO.SYS | tr -s ' ')" " A SHR ::/IO.SYS"
check_equal "it has the time it was given" "$("$STEPS" attributes stat IO.SYS)" \
    "file 21 444 1000000000"
check "before 1980 is 1980" "$STEPS" attributes put old one 600 0
check_equal "which is what is there" "$("$STEPS" attributes stat OLD)" "file 4 644 315532800"
"$STEPS" attributes put locked one 444
check "a mode without w is read-only" eval "mattrib -i attributes ::/locked | grep -q '^ *A *R '"

for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    "$STEPS" attributes put "a name like others $i" one
done
check_equal "aliases of one stem are told apart" \
    "$(mdir -i attributes :: | sed -n 's/^\(ANAME[^ ]*\) .*/\1/p' | sort | uniq | wc -l)" 12
check_exit "a file answers to its alias" 0 '^file 4 644' "$STEPS" attributes stat ANAMEL~1
check "which can be removed" "$STEPS" attributes rm anamel~1
check_exit "and is gone with its long name" 1 '^2 ' "$STEPS" attributes stat "a name like others 1"
check "no complaint" fsck_is_silent attributes
check_exit "a name that FAT cannot hold" 1 '^8 .*cannot hold' "$STEPS" attributes put 'a:b' one
check_exit "a folder that is not there" 1 '^2 .*no folder nowhere' \
    "$STEPS" attributes put nowhere/x one
check_exit "a file is no folder" 1 '^2 .*not a folder' "$STEPS" attributes put old/x one
"$STEPS" attributes mkdir sub
check_exit "a folder's place" 1 '^8 .*folder is there' "$STEPS" attributes put SUB one
check_exit "no path goes up" 1 '^8 ' "$STEPS" attributes put ../x one
check_exit "or has an empty name" 1 '^8 ' "$STEPS" attributes put sub//x one

room=$("$STEPS" attributes room)
head -c "$room" /dev/zero >all
head -c $((room + 1)) /dev/zero >all+1
check_exit "one byte more than there is room for" 1 '^4 .* 2048 bytes are missing' \
    "$STEPS" attributes put filler all+1
check "all that there is room for" "$STEPS" attributes put filler all
check_equal "nothing is left then" "$("$STEPS" attributes room)" 0
check "an empty file still fits" "$STEPS" attributes put empty /dev/null
check_exit "a folder does not" 1 '^4 ' "$STEPS" attributes mkdir folder
check "without a complaint about a full FAT" fsck_is_silent attributes

make_fat entries 2000 -F 12 -r 16
for ((i = 1; i < 16; i++)); do "$STEPS" entries put "F$i" one; done
check_exit "a root folder that is full says so" 1 '^4 .*root folder is full.* 32 bytes' \
    "$STEPS" entries put F16 one
"$STEPS" entries rm F3
check "what was removed is used again" "$STEPS" entries put F16 one
"$STEPS" entries rm F5
check_exit "a long name wants more" 1 '^4 .*root folder is full' "$STEPS" entries put lower one
check "without a complaint about a full root" fsck_is_silent entries

# The same steps give the same bytes.
for name in first second; do
    make_fat $name 4000 -F 16 -s 1
    "$STEPS" $name mkdir d
    "$STEPS" $name put d/one one
    "$STEPS" $name put d/two two
    "$STEPS" $name rm d/one
done
check "the same steps give the same bytes" cmp first second

done_testing
