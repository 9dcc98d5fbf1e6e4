#!/usr/bin/env bash
# inject into every kind of image, judged by e2fsck, debugfs, fsck.fat, mtools and qemu-img.
# shellcheck disable=SC2016,SC2317 # dollars of other programs; functions are called through check
export IN_MEMORY=yes
. "$(dirname "$0")/../qcow2/lib.sh"
needs_tool e2fsck debugfs fsck.fat mcopy qemu-img qemu-io jq zip ssh-keygen script

cat >base.rsc <<'E'
/system identity set name={{ name }}
/user set admin password={{ env://ROUTER_PASSWORD }}
E
printf '/ip address\nadd address=192.0.2.1/24 interface=ether1' >site.rsc
export ROUTER_PASSWORD='se"c$ret'
# Byte for byte what the router gets.
cat >wanted.scr <<'E'
# from base.rsc
/
/system identity set name="r1"
/user set admin password="se\"c\$ret"
# from site.rsc
/
/ip address
add address=192.0.2.1/24 interface=ether1
E
inject() { # IMAGE [ARGUMENT...]
    "$CHRIMG" inject --set name=r1 "$@"
}

# ---- judges ----

# root_number LAYOUT: RouterOS 6 has one partition.
root_number() {
    if [ "$1" = v6 ]; then echo 1; else echo 2; fi
}

ext_sound() { # PARTITION
    local output
    output=$(e2fsck -fn "$1" 2>&1) && return 0
    echo "$output"
    return 1
}

dumped() { # PARTITION PATH
    debugfs -R "cat /$2" "$1" 2>/dev/null
}

# What debugfs says of each file and folder of an ext, and its checksum, but for the PATHs.
ext_state() { # PARTITION [PATH...]
    local image=$1 path
    rm -rf dump
    ext_dump "$image" dump || return 1
    (cd dump && find . -mindepth 1 -printf '%P\n' | sort) | while IFS= read -r path; do
        case " ${*:2} " in *" $path "*) continue ;; esac
        if [ -f "dump/$path" ]; then sha256sum "dump/$path"; else echo "$path"; fi
        debugfs -R "stat \"/$path\"" "$image" 2>/dev/null |
            grep -oE 'Inode: [0-9]+|Mode: +[0-7]+|User: +[0-9]+|Group: +[0-9]+|Size: [0-9]+|Links: [0-9]+'
    done
}

# ---- every layout ----

layouts=(7.17 7.19 7.20 fat arm64 raw v6 mbr2)
for layout in "${layouts[@]}"; do
    rm -rf ./*.img ./*.part
    "$MKCHR" "$layout" old.img
    cp --sparse=always old.img new.img
    number=$(root_number "$layout")
    check "$layout: inject" inject new.img base.rsc site.rsc
    check_equal "$layout: nothing is left beside the image" "$(find . -name '.*chrimg*')" ""
    partition old.img "$number" old.part
    partition new.img "$number" new.part
    check "$layout: e2fsck finds nothing" ext_sound new.part
    dumped new.part rw/autorun.scr >got.scr
    check "$layout: autorun.scr is these bytes" cmp got.scr wanted.scr
    ext_state old.part rw/autorun.scr >old.state
    ext_state new.part rw/autorun.scr >new.state
    check "$layout: no other file changed" diff old.state new.state
    cmp -l old.img new.img | awk -v first=$(($(partition_start old.img "$number") * 512)) \
        -v size=$(($(partition_sectors old.img "$number") * 512)) \
        '$1 <= first || $1 > first + size' >outside
    check_equal "$layout: no byte outside of the root partition changed" "$(head -n 3 outside)" ""
    "$CHRIMG" cat new.img:/rw/autorun.scr >got.scr
    check "$layout: cat gives it back" cmp got.scr wanted.scr
    cp --sparse=always old.img again.img
    inject again.img base.rsc site.rsc >/dev/null
    check "$layout: the same input, the same image" cmp new.img again.img
    check_exit "$layout: once more is no change" 0 'as it should be already' \
        inject new.img base.rsc site.rsc
    check "$layout: not a byte" cmp new.img again.img
done
rm -rf ./*.img ./*.part

# ---- owner, mode and times ----

"$MKCHR" 7.20 old.img
partition old.img 2 old.part
debugfs -w -f /dev/stdin old.part >/dev/null 2>&1 <<'E'
mkdir /rw/disk
sif /rw uid 7
sif /rw/disk uid 8
sif /rw/disk gid 9
E
dd if=old.part of=old.img bs=512 seek="$(partition_start old.img 2)" conv=notrunc status=none
check "files of many kinds" inject old.img base.rsc --file site.rsc --file site.rsc:sub/x.rsc \
    --put site.rsc:/etc/a.conf --mode 600
partition old.img 2 new.part
owner() { debugfs -R "stat /$1" new.part 2>/dev/null | sed -nE 's/^User: +([0-9]+) +Group: +([0-9]+).*/\1 \2/p'; }
mode() { debugfs -R "stat /$1" new.part 2>/dev/null | sed -nE 's/.*Mode: +([0-7]+).*/\1/p'; }
check_equal "a new autorun.scr belongs to the folder's owner" "$(owner rw/autorun.scr)" "7 0"
check_equal "a file of the store belongs to the store's owner" "$(owner rw/disk/site.rsc)" "8 9"
check_equal "and so do folders made for it" "$(owner rw/disk/sub)" "8 9"
check_equal "--mode" "$(mode etc/a.conf)" 0600
check_equal "without it, as usual" "$(mode rw/disk/site.rsc)" 0644
check "e2fsck finds nothing" ext_sound new.part
modified() { "$CHRIMG" ls --json "$1" | jq -r '.files[0].modified'; }
"$MKCHR" 7.19 new.img
inject new.img base.rsc >/dev/null
check_equal "the time is that of the router's own files" "$(modified new.img:/rw/autorun.scr)" \
    "$(modified new.img:/var/pdb/system/image)"
SOURCE_DATE_EPOCH=1700000000 inject new.img --replace base.rsc site.rsc >/dev/null
check_equal "SOURCE_DATE_EPOCH is the time" "$(modified new.img:/rw/autorun.scr)" 2023-11-14T22:13:20Z
rm -rf ./*.img ./*.part

# ---- files, folders, the boot partition ----

mkdir -p tree/b tree/a
seq 100000 >tree/a/numbers
: >tree/b/empty
for layout in 7.19 fat; do
    "$MKCHR" "$layout" new.img
    partition new.img 1 old.part
    check "$layout: folders and boot files" inject new.img --file tree --file tree/a/numbers:n.txt \
        --put tree:/opt/x --boot tree:/EXTRA --boot site.rsc:/notes.rsc
    partition new.img 1 boot.part
    partition new.img 2 root.part
    check "$layout: e2fsck finds nothing on the root" ext_sound root.part
    for path in rw/disk/tree/a/numbers rw/disk/n.txt opt/x/a/numbers; do
        dumped root.part "$path" >got
        check "$layout: $path" cmp got tree/a/numbers
    done
    rm -rf dump
    if [ "$layout" = fat ]; then
        check "$layout: fsck.fat finds nothing" fsck.fat -n boot.part
        fat_dump boot.part dump
        places() { fat_sectors "$1" EFI/BOOT/BOOTX64.EFI; }
    else
        check "$layout: e2fsck finds nothing on the boot partition" ext_sound boot.part
        ext_dump boot.part dump
        places() { ext_sectors "$1" EFI/BOOT/BOOTX64.EFI; }
    fi
    places old.part >old.places
    places boot.part >new.places
    check "$layout: there are sectors to compare" test -s old.places
    check "$layout: the loader stays on its sectors" cmp old.places new.places
    check "$layout: a folder on the boot partition" diff -r dump/EXTRA tree
    check "$layout: a file on the boot partition" cmp dump/notes.rsc site.rsc
    check "$layout: chrimg check" "$CHRIMG" check new.img
done
rm -rf ./*.img ./*.part

# ---- qcow2 ----

"$MKCHR" 7.19 raw.img
"$CHRIMG" fatten --in-place raw.img >/dev/null
cp --sparse=always raw.img fattened.img
check "a fattened image" inject fattened.img base.rsc site.rsc --boot site.rsc:/notes.rsc
partition fattened.img 1 boot.part
check "fsck.fat finds nothing" fsck.fat -n boot.part
qemu-img convert -O qcow2 raw.img plain.qcow2
qemu-img convert -c -O qcow2 raw.img compressed.qcow2
cp plain.qcow2 snapshots.qcow2
qemu-img snapshot -c before snapshots.qcow2
qemu-img create -q -f qcow2 -b raw.img -F raw backed.qcow2
before=$(checksum raw.img)
for image in plain compressed snapshots backed; do
    check "$image.qcow2: inject" inject "$image.qcow2" base.rsc site.rsc --boot site.rsc:/notes.rsc
    check "$image.qcow2: qemu-img finds nothing" sound "$image.qcow2"
    qemu-img convert -O raw "$image.qcow2" seen.img
    check "$image.qcow2: the disk is what the raw one became" cmp seen.img fattened.img
done
check_equal "the backing file is as it was" "$(checksum raw.img)" "$before"
"$CHRIMG" cat snapshots.qcow2@before:/rw/autorun.scr >got.scr
check_equal "the snapshot has the old script" "$(stat -c %s got.scr)" 2
qemu-img snapshot -a before snapshots.qcow2
qemu-img convert -O raw snapshots.qcow2 seen.img
check "after snapshot -a the old disk is back" cmp seen.img raw.img
rm -rf ./*.img ./*.part ./*.qcow2

# ---- what is there already ----

printf '# mine\n/ip dns set servers=192.0.2.53\n/user set admin password=hunter2\n' >mine.scr
"$MKCHR" 7.19 full.img --autorun mine.scr
before=$(checksum full.img)
check_exit "commands that are there: refused, and shown" 1 '/ip dns set' inject full.img base.rsc site.rsc
check_equal "but no password" "$(inject full.img site.rsc 2>&1 | grep -c hunter2)" 0
check_equal "nothing was written" "$(checksum full.img)" "$before"
check "--append" inject --append full.img base.rsc site.rsc
check_equal "both are there, the old ones first" "$("$CHRIMG" cat full.img:/rw/autorun.scr)" \
    "$(cat mine.scr wanted.scr)"
now=$(checksum full.img)
check_exit "--append once more is no change" 0 'as it should be already' \
    inject --append full.img base.rsc site.rsc
check_equal "not a byte" "$(checksum full.img)" "$now"
check_exit "with another value it is one" 0 'wrote' \
    "$CHRIMG" inject --append --set name=r2 full.img base.rsc site.rsc
check "--replace" inject --replace full.img base.rsc site.rsc
check_equal "the new ones alone" "$("$CHRIMG" cat full.img:/rw/autorun.scr)" "$(cat wanted.scr)"
printf '/user set admin comment="open\n' >open.scr
"$MKCHR" 7.19 open.img --autorun open.scr
check_exit "nothing is put behind an open string" 1 'has errors' inject --append open.img site.rsc
check_exit "a file that is there" 1 'there already' inject full.img --put site.rsc:/SHOW_LICENSE
check "with --replace" inject --replace full.img --put site.rsc:/SHOW_LICENSE
check_equal "it is another" "$("$CHRIMG" cat full.img:/SHOW_LICENSE)" "$(cat site.rsc)"
rm ./*.img

# ---- refusals ----

"$MKCHR" 7.19 old.img
before=$(checksum old.img)
refused() { # NAME STATUS PATTERN ARGUMENT...
    check_exit "refused: $1" "$2" "$3" "$CHRIMG" inject "${@:4}"
    check_equal "refused: $1: nothing was written" \
        "$(checksum old.img) $(find . -name '.*chrimg*' | wc -l)" "$before 0"
}
printf '/user set admin comment="a\n' >bad.rsc
printf '/system identity\nset name={{ missing }}\n' >missing.rsc
head -c 80000000 /dev/zero >huge
zip -q zipped.img.zip old.img
"$CHRIMG" convert old.img snap.qcow2 >/dev/null
"$CHRIMG" snapshot -c s snap.qcow2 >/dev/null
refused "an error of the script, by its place" 1 '^(chrimg: )?bad.rsc:1' old.img bad.rsc
refused "a reference that is missing, by its place" 1 'missing.rsc:2: .*missing' old.img missing.rsc
printf '/system identity set name={{ env://GONE }}\n/user set admin comment={{ cmd://ask }}\n' >gone.rsc
printf '#!/bin/sh\ntouch asked\necho x\n' >ask
chmod +x ask
rm -f asked
refused "all that are missing" 1 '^chrimg: 4 references have no value:$' \
    --admin-password-from env://NEITHER --allow-cmd ask=./ask old.img missing.rsc base.rsc gone.rsc
for line in 'defaults:1: ..*NEITHER is not' 'missing.rsc:2: .* missing .* has no value' 'gone.rsc:1: .*GONE is not'; do
    check_exit "by their places: $line" 1 "^  $line" \
        "$CHRIMG" inject --admin-password-from env://NEITHER --allow-cmd ask=./ask old.img missing.rsc base.rsc gone.rsc
done
check "then nobody is asked any more" test ! -e asked
refused "what to do about it" 1 '^hint: --set KEY=VALUE is for keys, .*exported' old.img missing.rsc gone.rsc
refused "of the environment alone" 1 '^hint: export GONE' --allow-cmd ask=./ask old.img gone.rsc
refused "a second gateway of a kind" 2 'second for IPv4' old.img --gateway 192.0.2.1 --gateway 192.0.2.2
refused "two names" 2 '--identity is given twice' old.img --identity a --identity b
refused "two names in two forms" 2 '--identity is given twice' old.img --defaults identity=a --identity b
refused "two passwords" 2 '--admin-password-from is given twice' old.img --admin-password-from env://A \
    --admin-password-from env://B
refused "a password from the arguments" 2 'no key of --set' old.img --admin-password-from pw --set pw=x
refused "a key that no script can have" 2 '--set: 9x can be no key' old.img --set 9x=1 base.rsc
refused "a reference for a key" 2 '--set: env://A can be no key' old.img --set env://A=1 base.rsc
refused "no room: how many bytes" 1 '[0-9]+ (more )?bytes' old.img --file huge
refused "no room: the way out" 1 'chrimg resize' old.img --file huge
refused "no room for several: what all of them lack" 1 'no room for /rw/disk/huge and 3 more: ' \
    old.img --file huge --put huge:/x40 --put huge:/deep/x41
refused "no room: the whole command" 1 'hint: chrimg resize old.img \+[0-9]+M makes room for all' \
    old.img --file huge --put huge:/x40 --put huge:/x41
mkdir crowd
(cd crowd && seq 7000 | xargs touch)
for what in "--file huge --put huge:/x40 --put huge:/x41" "--file crowd" "--file crowd --put huge:/deep/x"; do
    cp --sparse=always old.img "grown 1.img"
    # shellcheck disable=SC2086 # words
    command=$("$CHRIMG" inject "grown 1.img" $what 2>&1 | sed -n 's/^hint: \(.*\) makes room.*/\1/p')
    check "$what: the command of the hint" sh -c "PATH=$BUILD:\$PATH; $command"
    # shellcheck disable=SC2086
    check "$what: suffices" "$CHRIMG" inject "grown 1.img" $what
    check "$what: check" "$CHRIMG" check "grown 1.img"
done
rm -rf "grown 1.img" crowd
refused "nothing to inject" 2 'nothing to inject' old.img
refused "no image" 2 'name the image'
refused "a path that leads out, as it was given" 2 ' /a/\.\./b: a path' old.img --put site.rsc:/a/../b
refused "for the router's files" 2 ' \.\./b: a path' old.img --file site.rsc:../b
refused "nor is it a name" 2 ' \.\.: a path' old.img --file ..
refused "no such script" 1 'no-such.rsc' old.img no-such.rsc
refused "the loader that BIOS finds by its sectors" 1 'BIOS' \
    --replace old.img --boot site.rsc:/EFI/BOOT/BOOTX64.EFI
refused "the map" 1 'BIOS' --replace old.img --boot site.rsc:/map
refused "a boot partition has another way out" 1 'cannot be grown: remove' \
    --replace old.img --boot huge:/huge
refused "a folder in the way" 1 'is a folder$' old.img --put site.rsc:/rw
refused "a folder in the way: into it" 1 '^hint: /rw/ puts it into' old.img --put site.rsc:/rw
mkdir hollow
refused "a folder in the way is no matter of --replace" 1 'and no folder$' \
    --replace old.img --put hollow:/SHOW_LICENSE/
refused "--allow-cmd without a program" 2 'names no program' --allow-cmd x= old.img site.rsc
refused "no password on the command line" 2 'wants a reference' old.img --admin-password-from hunter2
check_equal "which is not repeated" \
    "$(inject old.img --admin-password-from hunter2 2>&1 | grep -c hunter2)" 0
refused "image and script the wrong way round" 1 'The image is named first' site.rsc old.img
: >empty.rsc
printf '# nothing\n\n  # here\n' >comments.rsc
refused "a pipe from a program that failed" 1 'empty stream' old.img base.rsc <(false)
refused "scripts without a command" 1 'empty.rsc: there is no command.*after it' \
    old.img empty.rsc comments.rsc
printf '\357\273\277# nothing\r\n' >marked.rsc
refused "nor behind a byte order mark" 1 'marked.rsc: there is no command' old.img marked.rsc
check_exit "an empty standard input" 1 '<stdin>.*empty stream' inject old.img - </dev/null
# A value costs a prompt of the password manager, so the script is looked through before.
printf '/system identity set name={{ cmd://touch }} comment="\n/ip x={{ no://ref }}\n' >open.rsc
printf '#!/bin/sh\n: >asked\necho x\n' >touch-asked
chmod +x touch-asked
refused "errors as by lint, with their columns" 1 '^open.rsc:1:53: error: this " is never closed' \
    --allow-cmd touch=./touch-asked old.img open.rsc
check "no value was asked for" test ! -e asked
# Nor while the image would not be changed at all.
"$MKCHR" raw kernel.img
printf '/system identity set name={{ cmd://touch }}\n' >asks.rsc
"$MKCHR" 7.20 taken.img
"$CHRIMG" inject taken.img site.rsc >/dev/null
refused "no image" 1 'cannot open none.img' --allow-cmd touch=./touch-asked none.img asks.rsc
refused "no file to put" 1 'cannot open none:' --allow-cmd touch=./touch-asked old.img asks.rsc \
    --file none
refused "no partition for it" 1 'no file system' --allow-cmd touch=./touch-asked kernel.img asks.rsc \
    --boot site.rsc:/x
refused "another script is there" 1 'has commands already' \
    --allow-cmd touch=./touch-asked taken.img asks.rsc
printf '/system identity set name="open' >half.scr
"$CHRIMG" cp -f half.scr taken.img:/rw/autorun.scr >/dev/null
refused "nothing can be put behind it" 1 'in line 1, column 27 \(unbalanced-quote\)' --append \
    --allow-cmd touch=./touch-asked taken.img asks.rsc
check "no value was asked for in vain" test ! -e asked
"$CHRIMG" rm taken.img:/rw/autorun.scr >/dev/null
check "when all is well, it is" inject --allow-cmd touch=./touch-asked taken.img asks.rsc
check "as one sees" test -e asked
check_exit "the same values again are no change" 0 'as it should be already' \
    inject --allow-cmd touch=./touch-asked taken.img asks.rsc
check_exit "nor is it with more behind it" 1 'has commands already' \
    inject --allow-cmd touch=./touch-asked taken.img asks.rsc site.rsc
rm -f taken.img asked
refused "a key twice" 2 '--set a is given twice' --set a=1 --set a=2 old.img site.rsc
refused "a program twice" 2 '--allow-cmd x is given twice' --allow-cmd x=a --allow-cmd x=b old.img site.rsc
check_exit "a key that nothing uses" 0 'warning: --set nmae is not used' \
    inject -n --replace --set nmae=r2 old.img base.rsc
check_equal "in JSON" "$(inject -n --replace --json --set nmae=r2 old.img base.rsc | jq -c .unused_sets)" \
    '["nmae"]'
check_equal "keys that are used" "$(inject -n --replace --json old.img base.rsc | jq -c .unused_sets)" '[]'
refused "--append and --replace" 2 'exclude' --append --replace old.img site.rsc
refused "--mode without --put" 2 '--mode' --mode 600 old.img site.rsc
refused "an image in a zip" 1 'zip' zipped.img.zip site.rsc
refused "a snapshot" 1 'snapshot' snap.qcow2@s site.rsc
refused "a snapshot: the way out" 1 '^hint: chrimg convert' snap.qcow2@s site.rsc
refused "a snapshot of a raw image" 1 'raw image, which has no snapshots' old.img@s site.rsc
cp --sparse=always old.img odd.img
"$CHRIMG" rm odd.img:/rw/autorun.scr >/dev/null
"$CHRIMG" cp site.rsc odd.img:/rw/autorun.scr/x >/dev/null
refused "a folder in the script's place" 1 '^hint: chrimg rm -r IMG:/rw/autorun.scr' odd.img site.rsc
rm odd.img
refused "one path twice" 2 '/a is given twice' old.img --put site.rsc:/a --put base.rsc:/a
refused "one path on the boot partition twice" 2 'boot:/a is given twice' \
    old.img --boot site.rsc:/a --boot base.rsc:/a
refused "a file in the script's place" 2 '/rw/autorun.scr is given twice' \
    old.img --put site.rsc:/rw/autorun.scr site.rsc
refused "one path twice with --replace" 2 'given twice' old.img --replace --put site.rsc:/a --put base.rsc:/a
ln old.img hard.img
refused "an image with hard links" 1 'hard links' hard.img site.rsc
rm hard.img
mkdir linked
ln -s /etc/passwd linked/passwd
refused "a folder with a link in it" 1 'linked/passwd of the host is a symbolic link' old.img --file linked
refused "a boot partition without file system" 1 'no file system' kernel.img --boot site.rsc:/x
"$MKCHR" v6 six.img
refused "a boot partition that is the root" 1 'one partition only' six.img --boot site.rsc:/x
refused "a boot partition that is the root: the way out" 1 '^hint: .*--put' \
    six.img --boot site.rsc:/x
refused "the kernel of RouterOS 6, on its one partition" 1 '/boot/kernel is found by its sectors' \
    --replace six.img --put site.rsc:/boot/kernel
check_exit "nor is it removed with its folder" 1 'found by its sectors' "$CHRIMG" rm -r six.img:/boot
"$MKCHR" 7.20 seven.img
"$CHRIMG" cp site.rsc seven.img:/boot/kernel >/dev/null
check "a root of its own has no such files" "$CHRIMG" rm seven.img:/boot/kernel

# ---- dry runs, JSON, rendering ----

cp --sparse=always old.img full.img
check_exit "where its report cannot be written, inject says that it is done" 1 'what chrimg inject was to do is done' \
    sh -c '"$CHRIMG" inject --replace full.img site.rsc >/dev/full'
check "and it is" "$CHRIMG" cat full.img:/rw/autorun.scr
rm full.img

check_exit "-n says what would be" 0 "would write rw/autorun.scr, $(inject --render site.rsc 2>/dev/null | wc -c) bytes" \
    inject -n old.img site.rsc
check_exit "but no size that tells how long values are" 0 '^would write rw/autorun.scr$' \
    inject -n old.img base.rsc site.rsc
check_exit "-n shows the script" 0 '^add address=192.0.2.1/24' inject -n old.img base.rsc site.rsc
check_exit "-n shows no value" 0 'password="\*\*\*"' inject -n old.img base.rsc site.rsc
{ printf ':global long "%5000d"\n' 1; printf '/system identity\n\tset name=second\n'; } >long.rsc
check_equal "-n shows lines of any length, and tabs" "$(inject -n old.img long.rsc --replace | tail -n 3)" \
    "$(cat long.rsc)"
check_equal "-n writes nothing" "$(checksum old.img)" "$before"
check_equal "--json" "$(inject -n --json old.img base.rsc site.rsc |
    jq -c '[.dry_run, .written[0].path, .written[0].size, .written[0].replaced, (.changed_bytes > 0)]')" \
    "[true,\"rw/autorun.scr\",null,true,true]"
check_equal "folders that are made are said" \
    "$(inject -n old.img --put site.rsc:/deep/down/x | sed 's/, .*//')" \
    $'would write deep/\nwould write deep/down/\nwould write deep/down/x'
check_equal "in JSON" "$(inject -n --json old.img --put site.rsc:/deep/down/x |
    jq -c '[.written[] | [.path, .kind]]')" '[["deep","folder"],["deep/down","folder"],["deep/down/x","file"]]'
mkdir import
cp base.rsc import/
for where in --file:base.rsc --put:base.rsc:/base.rsc --file:import; do
    check_exit "${where#--}: references stay as they are" 0 'warning: references in (import/)?base.rsc stay as' \
        "$CHRIMG" inject -n old.img "${where%%:*}" "${where#*:}"
done
check_equal "in JSON" "$("$CHRIMG" inject -n --json old.img --file base.rsc --file site.rsc | jq -c .verbatim)" \
    '["base.rsc"]'

# ---- the router is the last judge ----

printf ':put "open\n' >faulty.rsc
printf '# caf\351\n:put "\317\360 \305\276"\nnew-thing x=1\n' >old.rsc
printf '/system identity set name={{ cmd://touch }} comment="\n' >values.rsc
printf '/ip route\nadd comment="{{ env://NO END"\n' >broken.rsc
printf '/ip\0' >nul.rsc
refused "errors: the hint names the way past them" 1 '^hint: .*--lint warn$' old.img faulty.rsc
refused "--lint error is the default" 1 'has 1 error, so nothing was written' --lint error old.img faulty.rsc
refused "errors beside values" 1 '1 error and references, whose values cannot be quoted safely' \
    --lint warn --allow-cmd touch=./touch-asked old.img values.rsc
refused "in another script, too" 1 '1 error and references' \
    --lint warn --allow-cmd touch=./touch-asked old.img asks.rsc faulty.rsc
refused "a password among the defaults is a value" 1 '1 error and references' \
    --lint warn --admin-password-from env://ROUTER_PASSWORD old.img faulty.rsc
refused "a reference that is broken" 1 'errors? and references' --lint warn old.img broken.rsc
refused "NUL bytes" 1 'no text that a router could read' --lint warn old.img nul.rsc
refused "--lint of another kind" 2 '--lint is error or warn, not all' --lint all old.img site.rsc
check "no value was asked for" test ! -e asked
check_exit "--render follows the same rule" 1 'nothing was written' "$CHRIMG" inject --render faulty.rsc
check_exit "with --lint warn, too" 1 '1 error and references' inject --render --lint warn base.rsc faulty.rsc
"$CHRIMG" inject --render --lint warn faulty.rsc 2>/dev/null >got.scr
check "what is faulty is rendered as it stands" cmp got.scr <(printf '# from faulty.rsc\n/\n'; cat faulty.rsc)
"$MKCHR" 7.19 judged.img
check_exit "--lint warn: said, and written" 0 '^faulty.rsc:1:6: error: ' \
    "$CHRIMG" inject --lint warn judged.img faulty.rsc
check_exit "--append to errors is refused all the same" 1 'has errors' \
    "$CHRIMG" inject --append --lint warn judged.img site.rsc
check_exit "in JSON" 0 '"severity": "error"' "$CHRIMG" inject --replace --lint warn --json judged.img old.rsc
partition judged.img 2 judged.part
dumped judged.part rw/autorun.scr >got.scr
check "bytes that are not UTF-8 are in the image as they are" \
    cmp got.scr <(printf '# from old.rsc\n/\n'; cat old.rsc)
check "--render prints the same" cmp got.scr <("$CHRIMG" inject --render --lint warn old.rsc 2>/dev/null)
sed -i '$d' old.rsc
check_exit "alone they are a warning" 0 '^old.rsc:1:6: warning: this and 2 more bytes' \
    "$CHRIMG" inject --replace judged.img old.rsc
check_exit "and can be appended to" 0 '^wrote' "$CHRIMG" inject --append judged.img site.rsc
check_equal "-n shows them as question marks" \
    "$("$CHRIMG" inject -n --replace judged.img old.rsc 2>/dev/null | sed -n '/caf/,$p')" \
    $'# caf?\n:put "?? \305\276"'
check_equal "so does JSON" \
    "$("$CHRIMG" inject -n --replace --json judged.img old.rsc | jq -r .script | sed -n '/caf/,$p')" \
    $'# caf?\n:put "?? \305\276"'
rm judged.img judged.part

inject --render base.rsc site.rsc >got.scr
check "--render prints what inject writes" cmp got.scr wanted.scr
check_exit "--render not on a terminal" 0 'not on a terminal' \
    script -qec "$CHRIMG inject --render site.rsc; true" /dev/null
printf '/ip dns set servers=192.0.2.53\n' | "$CHRIMG" inject old.img - >/dev/null
check_exit "a script from a pipe" 0 '^/ip dns set servers=192.0.2.53$' "$CHRIMG" cat old.img:/rw/autorun.scr

# ---- a first configuration ----

ssh-keygen -q -t ed25519 -N '' -C test -f key
"$MKCHR" 7.20 first.img
"$MKCHR" 7.20 pairs.img
check "defaults" "$CHRIMG" inject first.img --identity gw --admin-password-from env://ROUTER_PASSWORD \
    --address 192.0.2.2/24%ether1 --gateway 192.0.2.1 --dns 192.0.2.53 --ssh-key key.pub --hardened
check "the same as --defaults" "$CHRIMG" inject pairs.img --defaults identity=gw \
    --defaults admin-password-from=env://ROUTER_PASSWORD --defaults address=192.0.2.2/24%ether1 \
    --defaults gateway=192.0.2.1 --defaults dns=192.0.2.53 --defaults ssh-key=key.pub --defaults hardened
check "is the same image" cmp first.img pairs.img
check_exit "servers and gateways add up" 0 'servers="192.0.2.53,192.0.2.54"' "$CHRIMG" inject -n --replace old.img \
    --dns 192.0.2.53 --defaults dns=192.0.2.54 --gateway 192.0.2.1 --gateway 2001:db8::1
check_exit "hardened, and open" 0 'warning: --hardened leaves admin without a password' \
    "$CHRIMG" inject -n --replace --hardened old.img
printf '/user set admin password=x\n' >plain.rsc
for more in '--ssh-key key.pub' '--admin-password-from env://ROUTER_PASSWORD' plain.rsc; do
    # shellcheck disable=SC2086 # words
    check_equal "not with $more" "$("$CHRIMG" inject -n --replace --hardened old.img $more 2>&1 | grep -c 'leaves admin')" 0
done
check_exit "the identity is in it" 0 'name="gw"' "$CHRIMG" cat first.img:/rw/autorun.scr
"$CHRIMG" cat first.img:/rw/autorun.scr >first.rsc
check "lint finds no error in it" "$CHRIMG" lint first.rsc

# ---- a journal that was left dirty ----

"$MKCHR" 7.19 dirty.img --journal-dirty
check "a dirty journal is no obstacle" inject dirty.img base.rsc site.rsc
partition dirty.img 2 root.part
check "e2fsck finds nothing" ext_sound root.part
"$MKCHR" 7.19 clean.img
inject clean.img base.rsc site.rsc >/dev/null
partition clean.img 2 clean.part
dumped root.part rw/autorun.scr >got.scr
check "the script is in it" cmp got.scr wanted.scr

# ---- locks ----

"$MKCHR" 7.19 held.img
qemu-img convert -O qcow2 held.img held.qcow2
holds() { grep -q ":$(stat -c %i "$1") " /proc/locks; }
for image in held.img held.qcow2; do
    mkfifo commands
    qemu-io "$image" <commands >/dev/null 2>&1 &
    holder=$!
    exec 8>commands
    for ((i = 0; i < 1000; i++)); do if holds "$image"; then break; fi; sleep 0.02; done
    check_exit "$image is in use" 1 'in use by another process' \
        inject --allow-cmd touch=./touch-asked "$image" asks.rsc
    check "so no value was asked for" test ! -e asked
    exec 8>&-
    wait "$holder"
    rm commands
    check "$image is free again" inject "$image" base.rsc
done

done_testing
