#!/usr/bin/env bash
# ls, cat, cp and rm on both partitions, held against debugfs, mtools and the host's own files.
# shellcheck disable=SC2016,SC2317 # dollars of other programs; functions are called through check
export IN_MEMORY=yes
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool e2fsck debugfs fsck.fat mdir mcopy qemu-img jq strace zip script

ext_sound() { # PARTITION
    local output
    output=$(e2fsck -fn "$1" 2>&1) && return 0
    echo "$output"
    return 1
}

# "PATH SIZE MODE" of all files and folders, as debugfs has them.
ext_list() { # PARTITION
    local path
    rm -rf dump
    ext_dump "$1" dump
    find dump -mindepth 1 -printf '%P\n' | sort | while IFS= read -r path; do
        debugfs -R "stat \"/$path\"" "$1" 2>/dev/null | awk -v path="$path" '
            /Mode:/ { for (i = 1; i < NF; i++) { if ($i == "Mode:") mode = $(i + 1); if ($i == "Type:") type = $(i + 1) } }
            /Size:/ && size == "" { for (i = 1; i < NF; i++) if ($i == "Size:") size = $(i + 1) }
            END { print path, type == "directory" ? 0 : size, mode }'
    done
}

our_list() { # PLACE
    "$CHRIMG" ls -R --json "$1" |
        jq -r '.files[] | select(.path != "lost+found") | "\(.path) \(.size) \(.mode)"'
}

# ---- reading ----

"$MKCHR" 7.19 a.img
"$MKCHR" 7.20 f.img --many
"$CHRIMG" fatten --in-place f.img >/dev/null
partition a.img 1 boot.part
partition a.img 2 root.part
for side in root boot; do
    place=a.img:/
    [ "$side" = boot ] && place=a.img:boot:/
    ext_list "$side.part" >wanted
    our_list "$place" >got
    check "ls -R has the files of the $side partition" diff wanted got
done
partition f.img 1 fat.part
MTOOLS_SKIP_CHECK=1 mdir -/ -a -b -i fat.part ::/ | sed 's|^::/||; s|/$||' | sort >wanted
"$CHRIMG" ls -R --json f.img:boot:/ | jq -r '.files[].path' | while IFS= read -r path; do mtools_name "$path"; done | sort >got
check "ls -R has the files of a FAT" diff wanted got
check_equal "ls" "$("$CHRIMG" ls a.img:/rw)" $'REBOOT\nautorun.scr'
echo x >plain.sh
"$MKCHR" 7.19 special.img
"$CHRIMG" inject special.img --put plain.sh:/s --mode 6754 >/dev/null
check_exit "ls -l shows setuid and setgid" 0 '^-rwsr-sr-- .* s$' "$CHRIMG" ls -l special.img:/
check_equal "ls of an image is its root" "$("$CHRIMG" ls a.img)" "$("$CHRIMG" ls a.img:/)"
check_equal "ls of a file" "$("$CHRIMG" ls a.img:/rw/autorun.scr)" rw/autorun.scr
check_exit "ls -l" 0 '^-rw-r--r-- +0 +0 +2 2025-01-01 00:00:00 autorun.scr$' "$CHRIMG" ls -l a.img:/rw
check_equal "slashes make no difference" "$("$CHRIMG" ls a.img://var/./pdb//)" system/
check_equal "FAT's names in any case" "$("$CHRIMG" ls f.img:boot:/efi/boot)" BOOTX64.EFI

# FAT knows a file by its long name and by its alias, in any case of letters.
echo one >one
echo two >two
cp --sparse=always f.img names.img
"$CHRIMG" cp one "names.img:boot:/Übersicht der Regeln.rsc" >/dev/null
"$CHRIMG" cp one names.img:boot:/Ordnung/x >/dev/null
for name in "übersicht DER regeln.RSC" "_BERSI~1.RSC"; do
    check_equal "cat of $name" "$("$CHRIMG" cat "names.img:boot:/$name")" one
    check_equal "ls of $name" "$("$CHRIMG" ls "names.img:boot:/$name")" "Übersicht der Regeln.rsc"
    check "replaced as $name" "$CHRIMG" cp -f two "names.img:boot:/$name"
    check_equal "which it is" "$("$CHRIMG" cat "names.img:boot:/Übersicht der Regeln.rsc")" two
    check "removed as $name" "$CHRIMG" rm "names.img:boot:/$name"
    check_exit "it is gone" 1 'no such file' "$CHRIMG" cat "names.img:boot:/Übersicht der Regeln.rsc"
    "$CHRIMG" cp one "names.img:boot:/Übersicht der Regeln.rsc" >/dev/null
done
check "into a folder in another case" "$CHRIMG" cp two names.img:boot:/ORDNUNG/y
check_equal "which is the same folder" "$("$CHRIMG" ls names.img:boot:/ordnung)" $'x\ny'
check_exit "the loader's own sectors by its alias" 1 'found by its sectors' \
    "$CHRIMG" rm names.img:boot:/efi/boot/bootx64.efi
partition names.img 1 names.part
check "fsck.fat" fsck.fat -n names.part
rm names.img names.part
# On ext, case makes another file.
cp --sparse=always a.img case.img
check "a MAP beside the map" "$CHRIMG" cp one case.img:boot:/MAP
check_exit "the map itself" 1 'found by its sectors' "$CHRIMG" rm case.img:boot:/map
rm case.img

mkfifo pipe
check_exit "a pipe is no file, and the way is named" 1 'cp - IMG:/rw/disk/piped < pipe' \
    timeout 20 "$CHRIMG" cp pipe a.img:/rw/disk/piped
cp --sparse=always a.img piped.img
echo 'what it says' >pipe &
check "that way goes" "$CHRIMG" cp - piped.img:/rw/disk/piped <pipe
check_equal "and is written" "$("$CHRIMG" cat piped.img:/rw/disk/piped)" "what it says"
wait $!
rm piped.img

debugfs -R 'cat /var/pdb/system/image' root.part 2>/dev/null >wanted
"$CHRIMG" cat a.img:/var/pdb/system/image >got
check "cat of 20 MB" cmp wanted got
MTOOLS_SKIP_CHECK=1 mcopy -n -i fat.part ::/EFI/BOOT/BOOTX64.EFI wanted.efi
"$CHRIMG" cat f.img:boot:/EFI/BOOT/BOOTX64.EFI >got
check "cat of a file on FAT" cmp wanted.efi got
check_exit "cat of a folder" 1 'is a folder' "$CHRIMG" cat a.img:/rw
check_exit "cat of nothing" 1 '/rw/nothing: no such file' "$CHRIMG" cat a.img:/rw/nothing
check_exit "cat below a file" 1 'no such file' "$CHRIMG" cat a.img:/rw/autorun.scr/x
check_exit "cat without a path" 2 'names no file' "$CHRIMG" cat a.img
check_exit "a path with .." 2 '\.\.' "$CHRIMG" cat a.img:/rw/../rw/autorun.scr
check_exit "cat to a full device" 1 'standard output' sh -c '"$CHRIMG" cat a.img:/var/pdb/system/image >/dev/full'

# ---- names of images ----

cp --sparse=always a.img odd:name.img
cp --sparse=always a.img odd@name.img
mkdir -p "c:" && cp --sparse=always a.img c:/x.img
check_exit "a path without its slash" 2 'begins with a slash' "$CHRIMG" ls a.img:rw
check_exit "nor on the boot partition" 2 'begins with a slash' "$CHRIMG" ls a.img:boot:EFI
check_exit "nor as a target" 2 'begins with a slash' "$CHRIMG" cp a.img:/rw/autorun.scr a.img:rw
mkdir holds
check "a colon behind a folder's name is a file's" "$CHRIMG" cp a.img:/rw/autorun.scr holds:copy
mkdir d:
for target in d:/out ./d:/out1 "$PWD/d:/out2" d:; do
    check "a folder whose name ends in a colon: ${target#"$PWD"}" "$CHRIMG" cp a.img:/rw/autorun.scr "$target"
done
check_equal "it has them" "$(ls d:)" $'autorun.scr\nout\nout1\nout2'
check "also to copy from" "$CHRIMG" cp -n d:/out a.img:/rw/new
check_exit "a folder is no image" 2 'holds is a folder, not a disk image' "$CHRIMG" ls holds:/rw
check_exit "what was taken for an image" 2 'backup:/x in the image backup; one side' \
    "$CHRIMG" cp a.img:/rw/autorun.scr backup:/x
check_exit "and what for a file of the host" 2 'nothing and else are both on the host' \
    "$CHRIMG" cp nothing else
rm -rf d:
check "an image with a colon" "$CHRIMG" ls odd:name.img:/rw
check "an image with an @" "$CHRIMG" ls odd@name.img:/rw
check "a folder with a colon" "$CHRIMG" ls c:/x.img:/rw
check "a folder with a colon, the image alone" "$CHRIMG" ls c:/x.img
qemu-img convert -O qcow2 a.img s.qcow2
qemu-img snapshot -c 'be@fore' s.qcow2
echo changed >changed
"$CHRIMG" cp -f changed s.qcow2:/rw/autorun.scr >/dev/null
check_equal "a snapshot keeps the old file" "$("$CHRIMG" cat s.qcow2@be@fore:/rw/autorun.scr | od -An -tx1)" " 0a 0a"
check_equal "and the disk has the new one" "$("$CHRIMG" cat s.qcow2:/rw/autorun.scr)" changed
check_exit "the snapshot is named" 1 'chrimg: s.qcow2@be@fore: /none: no such' \
    "$CHRIMG" cat s.qcow2@be@fore:/none
check_exit "the partition, too" 1 'chrimg: a.img: boot:/none: no such' "$CHRIMG" cat a.img:boot:/none
check_exit "for what is in the way, too" 1 'a.img: boot:/map is there already' \
    "$CHRIMG" cp changed a.img:boot:/map
check_exit "and the image" 2 'chrimg: a.img: boot:/EFI is a folder' "$CHRIMG" cp a.img:boot:/EFI x
check_exit "but not for a file of the host" 1 'chrimg: cannot open none' "$CHRIMG" cp none a.img:/x
check_exit "one that is not on a FAT" 1 'no such file' "$CHRIMG" rm f.img:boot:/none
check_exit "nothing is written into a snapshot" 1 'snapshot' "$CHRIMG" cp -f changed 's.qcow2@1:/rw/autorun.scr'
zip -q z.img.zip a.img
check_equal "cat from a zip" "$("$CHRIMG" cat z.img.zip:/rw/autorun.scr | od -An -tx1)" " 0a 0a"
check_exit "nothing is written into a zip" 1 'zip' "$CHRIMG" rm z.img.zip:/rw/autorun.scr
rm -rf odd* c: z.img.zip s.qcow2

# What a name holds is shown, and never sent to the terminal.
printf 'x' >plain
"$CHRIMG" cp plain "a.img:/rw/"$'\e[31m'"red" >/dev/null
check "control characters in names are escaped" sh -c '"$CHRIMG" ls a.img:/rw | grep -qF "\\x1b[31mred"'
"$CHRIMG" cp plain "a.img:/rw/two"$'\n'"lines" >/dev/null
check_equal "a newline in a name, too" "$("$CHRIMG" ls a.img:/rw | grep -c '^lines$')" 0

# ---- copying out ----

"$MKCHR" 7.19 a.img
check "cp out" "$CHRIMG" cp a.img:/rw/autorun.scr out.scr
check_equal "the bytes" "$(od -An -tx1 out.scr)" " 0a 0a"
check_equal "mode and time" "$(stat -c '%a %Y' out.scr)" "644 1735689600"
check_exit "cp out does not replace" 1 'there already' "$CHRIMG" cp a.img:/rw/REBOOT out.scr
check_equal "it did not" "$(stat -c %s out.scr)" 2
check "cp -f does" "$CHRIMG" cp -f a.img:/rw/REBOOT out.scr
check_equal "it did" "$(stat -c %s out.scr)" 0
mkdir folder
check "cp into a folder" "$CHRIMG" cp a.img:/rw/autorun.scr folder
check "is there" test -s folder/autorun.scr
ln -s out.scr link
check "cp -f replaces a link itself" "$CHRIMG" cp -f a.img:/rw/autorun.scr link
check_equal "what it led to stays" "$(stat -c %s out.scr)" 0
ln -s "$WORK" folder/rw
check_exit "cp -r does not go through links" 1 'symbolic link' "$CHRIMG" cp -rf a.img:/rw folder
rm -rf folder
check_exit "a folder needs -r" 2 '-r' "$CHRIMG" cp a.img:/rw folder
check "cp -r to a new name" "$CHRIMG" cp -r a.img:/ all
rm -rf dump
partition a.img 2 root.part
ext_dump root.part dump
rmdir all/lost+found
check "all files are there" diff -r dump all
mkdir into
check "cp -r into a folder" "$CHRIMG" cp -r f.img:boot:/EFI into
check "on FAT" cmp into/EFI/BOOT/BOOTX64.EFI wanted.efi
check_exit "not over the image itself" 2 'the image itself' "$CHRIMG" cp -f a.img:/rw/autorun.scr a.img
check_exit "two hosts" 2 'IMG:/PATH' "$CHRIMG" cp out.scr other
check_exit "to standard output" 0 '^changed$' sh -c '"$CHRIMG" cp -f changed a.img:/rw/REBOOT >/dev/null && "$CHRIMG" cp a.img:/rw/REBOOT -'
check_equal "the bytes alone" "$("$CHRIMG" cp a.img:/rw/REBOOT - 2>&1)" changed
check "no file is called -" test ! -e ./-
check_exit "not together with --json" 2 'both write' "$CHRIMG" cp --json a.img:/rw/REBOOT -
check_exit "a full device" 1 'standard output' sh -c '"$CHRIMG" cp a.img:/var/pdb/system/image - >/dev/full'
check_exit "a folder" 1 'is a folder' "$CHRIMG" cp -r a.img:/rw -
check "a file that is called so" "$CHRIMG" cp a.img:/rw/REBOOT ./-
check_equal "is one" "$(cat ./-)" changed
rm -f ./-
printf 'in\0put' >input
check "from standard input" sh -c 'cat input | "$CHRIMG" cp - a.img:/rw/fromstdin'
check_equal "the bytes arrive" "$("$CHRIMG" cat a.img:/rw/fromstdin | od -c)" "$(od -c <input)"
check_exit "it has no name for a folder" 2 'no name' sh -c '"$CHRIMG" cp - a.img:/rw <input'
check_exit "nor for one that ends in a slash" 2 'no name' sh -c '"$CHRIMG" cp - a.img:/nothing/ <input'
check_exit "nor does it replace" 1 'there already' sh -c '"$CHRIMG" cp - a.img:/rw/fromstdin <input'
check "an empty one" "$CHRIMG" cp - a.img:/rw/empty </dev/null
check_exit "more than is kept in memory" 1 'larger than 32768 KiB' \
    sh -c 'head -c 40000000 /dev/zero | "$CHRIMG" cp - a.img:/rw/zeros'
check_exit "a closed one" 1 'cannot read standard input' sh -c '"$CHRIMG" cp - a.img:/rw/closed <&-'
state=$(sha256sum <a.img)
check_exit "a report has nowhere to go" 1 'standard output' sh -c '"$CHRIMG" ls a.img:/ >&-'
check_exit "nor has a copy" 1 'standard output' sh -c '"$CHRIMG" cp a.img:/rw/REBOOT - >&-'
check "messages neither" sh -c '! "$CHRIMG" cp - a.img:/rw/closed <&- 2>&- >&-'
check_equal "and nothing of it goes into the image" "$(sha256sum <a.img)" "$state"
check_exit "a device is written to by the shell" 1 'cp IMG:/PATH - > /dev/null' "$CHRIMG" cp a.img:/rw/REBOOT /dev/null
check_exit "an empty name" 2 'is empty' "$CHRIMG" cp '' a.img:/x
check_exit "folders that are made are said" 0 '^made 2 folders above it$' "$CHRIMG" cp plain a.img:/deep/down/x
check_exit "and those that would be" 0 '^would make 1 folder above it$' "$CHRIMG" cp -n plain a.img:/deep/else/x
check_equal "in JSON" "$("$CHRIMG" cp -rn --json into/EFI/BOOT a.img:/one/two/three | jq -c '[.folders_above, .folders]')" '[2,1]'
check_equal "none" "$("$CHRIMG" cp -n --json plain a.img:/deep/y | jq .folders_above)" 0
check_exit "two images" 2 'one side' "$CHRIMG" cp a.img:/rw/REBOOT f.img:/x
check_equal "nothing is left" "$(find . -name '.chrimg*')" ""

# A link and a device on the root partition.
debugfs -w -f /dev/stdin root.part >/dev/null 2>&1 <<'E'
cd /rw
symlink link /etc/passwd
mknod pipe p
E
dd if=root.part of=a.img bs=512 seek="$(partition_start a.img 2)" conv=notrunc status=none
check_exit "links and devices are left out, and counted" 0 'left out 2 links' "$CHRIMG" cp -r a.img:/rw out.rw
check "none of them is there" sh -c '! ls out.rw/link out.rw/pipe 2>/dev/null'
check_exit "a link alone is refused" 1 'link' "$CHRIMG" cp a.img:/rw/link x
check_exit "nothing is put through a link" 1 'link|folder' "$CHRIMG" cp plain a.img:/rw/link/x

# A file whose block is outside: the folder that it is in is named, however deep.
for file in rw/autorun.scr var/pdb/system/image SHOW_LICENSE; do
    "$MKCHR" 7.19 bad.img
    "$CHRIMG" cp -f plain "bad.img:/$file" >/dev/null
    debugfs -w -R "sif /$file block[0] 99999999" \
        "bad.img?offset=$(($(partition_start bad.img 2) * 512))" 2>/dev/null
    folder=$(dirname "/$file")
    check_exit "damage of $file is said to be there" 3 ": folder $folder: ${file##*/}: block" \
        "$CHRIMG" cat "bad.img:/$file"
    check_exit "also from above" 3 ": folder $folder: ${file##*/}: block" "$CHRIMG" ls -R bad.img:/
done
check_exit "and on the way down" 3 ': folder /: SHOW_LICENSE: block' "$CHRIMG" ls bad.img:/var/pdb
rm bad.img

# ---- copying in, removing ----

"$MKCHR" 7.19 a.img
cp --sparse=always a.img before.img
mkdir -p up/sub
seq 50000 >up/sub/numbers
: >up/empty
check "cp in" "$CHRIMG" cp changed a.img:/rw/new.txt
check "cp -r in" "$CHRIMG" cp -r up a.img:/opt
check "cp -r into a folder" "$CHRIMG" cp -r up a.img:/rw/
check_exit "cp in does not replace" 1 'there already' "$CHRIMG" cp plain a.img:/rw/new.txt
check "cp -f in" "$CHRIMG" cp -f plain a.img:/rw/new.txt
check_exit "cp in of a folder needs -r" 2 '-r' "$CHRIMG" cp up a.img:/x
now=$(checksum a.img)
check_exit "cp -n" 0 'would copy' "$CHRIMG" cp -n plain a.img:/rw/other.txt
check_exit "rm -n" 0 'would remove' "$CHRIMG" rm -n a.img:/rw/new.txt
check_equal "wrote nothing" "$(checksum a.img)" "$now"
partition a.img 2 root.part
check "e2fsck finds nothing" ext_sound root.part
rm -rf dump
ext_dump root.part dump
check "what was copied in" diff -r dump/opt up
check "and into a folder" diff -r dump/rw/up up
check "and replaced" cmp dump/rw/new.txt plain
check_exit "rm of a folder needs -r" 1 'not empty' "$CHRIMG" rm a.img:/opt
check_exit "the hint names it" 1 '^hint: .*with -r$' "$CHRIMG" rm a.img:/opt
check_exit "a file is no folder" 1 '/rw/new.txt/: it is no folder' "$CHRIMG" rm a.img:/rw/new.txt/
check "rm -r" "$CHRIMG" rm -r a.img:/opt
check "rm -r of another" "$CHRIMG" rm -r a.img:/rw/up
check "rm" "$CHRIMG" rm a.img:/rw/new.txt
check_exit "rm of nothing" 1 'no such file' "$CHRIMG" rm a.img:/rw/new.txt
check_exit "rm of the top" 1 '' "$CHRIMG" rm -r a.img:/
partition a.img 2 root.part
partition before.img 2 old.part
check "e2fsck finds nothing" ext_sound root.part
ext_list old.part >wanted
ext_list root.part >got
check "the files are those from before" diff wanted got
check "free blocks and inodes, too" diff <(dumpe2fs -h old.part 2>/dev/null | grep '^Free') \
    <(dumpe2fs -h root.part 2>/dev/null | grep '^Free')

for image in a f; do
    check "$image.img: cp into the boot partition" "$CHRIMG" cp -r up "$image.img:boot:/extra"
    check "$image.img: rm there" "$CHRIMG" rm "$image.img:boot:/extra/sub/numbers"
    check_equal "$image.img: what is left" "$("$CHRIMG" ls -R "$image.img:boot:/extra")" $'empty\nsub/'
done
partition f.img 1 fat.part
check "fsck.fat finds nothing" fsck.fat -n fat.part
partition a.img 1 boot.part
check "e2fsck finds nothing on the boot partition" ext_sound boot.part
check_exit "the kernel of BIOS cannot be removed" 1 'BIOS' "$CHRIMG" rm -r a.img:boot:/EFI

# ---- JSON ----

check_equal "ls --json" "$("$CHRIMG" ls --json a.img:/rw/autorun.scr |
    jq -c '[.partition, .path, .files[0].kind, .files[0].size, .files[0].mode, .files[0].uid]')" \
    '["root","rw/autorun.scr","file",2,"0644",0]'
check_equal "cp --json" "$("$CHRIMG" cp --json -r up a.img:/up | jq -c '[.files, .folders, .bytes > 0, .changed_bytes > 0]')" \
    '[2,2,true,true]'
check_equal "rm --json" "$("$CHRIMG" rm --json -r a.img:/up | jq -c '[.removed, .dry_run]')" '["a.img:/up",false]'

# ---- many steps ----

# steps SEED: 40 of them, each as a user would, on both partitions; the same on a tree of the host.
RANDOM=4711
rm -rf mirror
mkdir -p mirror/root mirror/boot
"$MKCHR" fat many.img
qemu-img convert -O qcow2 many.img many.qcow2

# ---- Ctrl-C ----

# The signal comes with the first byte that is written, the 200 KB are there nevertheless.
head -c 200000 /dev/urandom >large
status_of_signal() { # SIGNAL ARGUMENT...
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 env --default-signal=INT strace -qq -o /dev/null -e trace=pwrite64 \
        -e inject=pwrite64:signal="$1":when=1 "$CHRIMG" "${@:2}" >said 2>&1
    echo $?
}
qemu-img convert -O qcow2 a.img signal.qcow2
cp --sparse=always a.img signal.img
for image in signal.img signal.qcow2; do
    for signal in INT TERM HUP; do
        check_equal "$image: SIG$signal in the middle of a change" \
            "$(status_of_signal $signal cp large "$image:/$signal")" $((128 + $(kill -l $signal)))
        check "comes when it is whole" cmp <("$CHRIMG" cat "$image:/$signal") large
    done
done
check "no undo file is left" test ! -e .signal.img.chrimg-undo
check_equal "SIGINT in the middle of a snapshot" \
    "$(status_of_signal INT snapshot -c taken signal.qcow2)" $((128 + $(kill -l INT)))
check_equal "comes when it is there" "$("$CHRIMG" snapshot -l --json signal.qcow2 | jq -r '.snapshots[].tag')" taken
check "qemu-img finds neither errors nor leaks" sound signal.qcow2
rm signal.img signal.qcow2

# ---- many folders, another file under the name ----

for ((i = 0; i < 120; i++)); do mkdir -p "tree/a$i/b"; echo "$i" >"tree/a$i/b/file"; done
cp --sparse=always a.img tree.img
"$CHRIMG" cp -r tree tree.img:/tree >/dev/null
few_descriptors() { (ulimit -n 30 && "$CHRIMG" "$@"); }
check "more folders than files can be open" few_descriptors cp -r tree.img:/tree/ tree.out
check "come out as they went in" diff -r tree tree.out
rm -r tree tree.img tree.out

# Renamed over between its opening and its lock, as by convert --force.
is_open() { local fd; for fd in /proc/[0-9]*/fd/*; do [[ $fd -ef $1 ]] && return; done; return 1; }
replaced_before_its_lock() {
    local tracer
    cp --sparse=always a.img raced.img
    cp --sparse=always a.img other.img
    # LeakSanitizer and strace exclude each other.
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -qq -o /dev/null -e trace=fcntl -e inject=fcntl:delay_enter=300000 \
        "$CHRIMG" cp one raced.img:/one &
    tracer=$!
    until is_open raced.img; do kill -0 "$tracer" || return; done
    mv other.img raced.img
    wait "$tracer" && [[ $("$CHRIMG" cat raced.img:/one) == "$(cat one)" ]]
}
check "a file that is replaced before it is locked: the new one is changed" replaced_before_its_lock
problems=
for ((step = 0; step < 40; step++)); do
    side=root prefix=
    if ((RANDOM % 3 == 0)); then side=boot prefix=boot:; fi
    name="d$((RANDOM % 3))/f$((RANDOM % 5)).txt"
    if ((RANDOM % 3 > 0)); then
        head -c $((RANDOM * (RANDOM % 9))) /dev/urandom >bytes
        mkdir -p "mirror/$side/$(dirname "$name")"
        cp bytes "mirror/$side/$name"
        "$CHRIMG" cp -f bytes "many.qcow2:$prefix/t/$name" >/dev/null || problems+="step $step: cp; "
    elif [ -e "mirror/$side/$name" ]; then
        rm "mirror/$side/$name"
        "$CHRIMG" rm "many.qcow2:$prefix/t/$name" >/dev/null || problems+="step $step: rm; "
    fi
done
check_equal "40 steps on a qcow2" "$problems" ""
check "qemu-img finds nothing" sound many.qcow2
qemu-img convert -O raw many.qcow2 many.img
partition many.img 1 boot.part
partition many.img 2 root.part
check "e2fsck finds nothing" ext_sound root.part
check "fsck.fat finds nothing" fsck.fat -n boot.part
rm -rf dump dump.boot
ext_dump root.part dump
fat_dump boot.part dump.boot
check "the root has what the host has" diff -r mirror/root dump/t
check "the boot partition has what the host has" diff -r mirror/boot dump.boot/t

done_testing
