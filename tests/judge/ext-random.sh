#!/usr/bin/env bash
# Random steps of the ext editor, each judged by others: e2fsck finds nothing, debugfs
# reads back the very bytes, and no name, mode, owner or size changes but the touched
# ones.  Every so often the whole tree is read by debugfs and compared with a model.
# shellcheck disable=SC2034 # read by lib.sh
IN_MEMORY=yes
. "$(dirname "$0")/../lib.sh"
needs_tool mke2fs e2fsck debugfs

STEPS=$BUILD/tests/ext/steps
# The same file systems and steps in each run, so that what fails once fails again.
SEED=4711
UUID=c0ffee00-1234-4567-89ab-0123456789ab

# Every name of the image: "folder /inode/mode/uid/gid/name/size/".
list_image() {
    (cd model && find . -type d -printf 'ls -p /%P\n') >list.commands
    debugfs -f list.commands image 2>/dev/null | awk '
        /^debugfs: ls -p / { folder = $4; next }
        /^\// && $0 !~ "^/0/" { print folder, $0 }' | LC_ALL=C sort
}

# What differs between two lists and is neither PATH nor below it.
outside() {
    comm -3 "$1" "$2" | awk -v path="/$3" '
        {
            folder = $1
            split($2, field, "/")
            name = (folder == "/" ? "/" : folder "/") field[6]
            if (name != path && folder != path && index(folder, path "/") != 1)
                print
        }'
}

# Fail the configuration with a reason; its log is what a reader needs.
complain() {
    complaints=$((complaints + 1))
    if [ $complaints -le 3 ]; then
        diag "step $step ($verb $path): $*"
    fi
}

pick_folder() {
    find model -type d -printf '%P\n' | LC_ALL=C sort >folders
    sed -n "$((RANDOM % $(wc -l <folders) + 1))p" folders
}

pick_file() {
    find model -type f -printf '%P\n' | LC_ALL=C sort >files
    if [ -s files ]; then sed -n "$(((RANDOM * 32768 + RANDOM) % $(wc -l <files) + 1))p" files; fi
}

make_content() {
    local sizes=(0 1 700 1024 4096 5000 13000 49152 70000 300000 1500000)
    yes "content of step $step, $RANDOM" | head -c "${sizes[RANDOM % ${#sizes[@]}]}" >content
}

# Choose a step: sets verb and path, and makes `content` for a put.
choose() {
    local folder
    path=
    case $((RANDOM % 10)) in
    0 | 1) verb=rm path=$(pick_file) ;;
    2) verb=rmr path=$(pick_folder) ;;
    3) verb='mkdir' ;;
    4 | 5 | 6) verb=put path=$(pick_file) ;;
    *) verb=put ;;
    esac
    if [ -z "$path" ]; then
        if [ "$verb" != mkdir ]; then verb=put; fi
        folder=$(pick_folder)
        path=${folder:+$folder/}$verb-$step-$(printf "%0$((RANDOM % 90 + 1))d" 7)
    fi
    if [ "$verb" = rmr ] && [ "$path" = "$keep" ]; then verb=mkdir path=$keep/in-$step; fi
    if [ "$verb" = put ]; then make_content; fi
}

# The same in the model.
follow() {
    case $verb in
    put) cp content "model/$path" ;;
    mkdir) mkdir "model/$path" ;;
    rm) rm "model/$path" ;;
    rmr) rm -r "model/$path" ;;
    esac
}

compare_all() {
    rm -rf out
    mkdir out
    debugfs -R "rdump / out" image >/dev/null 2>&1
    chmod -R u+rwX out
    diff -r -x lost+found out model >differences 2>&1 || complain "$(head -n 3 differences)"
}

judge_step() {
    local difference
    # With some faults e2fsck ends with 0 all the same.
    if ! e2fsck -fn image >e2fsck.log 2>&1 || grep -q '? no' e2fsck.log; then
        complain "$(grep -v ^Pass e2fsck.log | head -n 5)"
    fi
    if [ "$verb" = put ] && [ $status -eq 0 ]; then
        rm -f dumped
        debugfs -R "dump /$path dumped" image >/dev/null 2>&1
        cmp -s dumped content || complain "debugfs reads other bytes"
    fi
    list_image >after
    difference=$(outside before after "$path")
    if [ -n "$difference" ]; then complain "outside: $difference"; fi
    mv after before
}

do_step() {
    local arguments written
    choose
    arguments=("$verb" "$path")
    if [ "$verb" = put ]; then arguments+=(content); fi
    written=$(stat -c %y image)
    "$STEPS" image "${arguments[@]}" >log 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        follow
        changed=$((changed + 1))
    elif grep -q 'error 4: .* missing' log; then
        # No room: said so, and left alone.
        full=$((full + 1))
        [ "$(stat -c %y image)" = "$written" ] || complain "a refused step wrote to the image"
    else
        complain "$(cat log)"
    fi
}

# random_steps NAME COUNT KEEP MKE2FS-OPTIONS...: on an image made from the folder `model`.
random_steps() {
    local name=$1 count=$2
    keep=$3
    shift 3
    complaints=0 changed=0 full=0 step=0 verb=start path=
    RANDOM=$((SEED++))
    rm -f image
    if ! mke2fs -q -F -U $UUID -E hash_seed=$UUID -d model "$@" >mke2fs.log 2>&1; then
        not_ok "$name: the image can be made" "$(cat mke2fs.log)"
        return
    fi
    # mke2fs leaves folders without an index.
    e2fsck -fyD image >/dev/null 2>&1
    list_image >before
    for ((step = 1; step <= count; step++)); do
        do_step
        judge_step
        if [ $((step % 25)) -eq 0 ]; then compare_all; fi
    done
    compare_all
    if [ $complaints -eq 0 ]; then
        ok "$name: $changed steps done, $full refused for want of room"
    else
        not_ok "$name" "$complaints complaints"
    fi
}

# make_model BYTES: a router's root in small, with a package of that size.
make_model() {
    local i
    rm -rf model
    mkdir -p model/rw/disk model/var/pdb/system model/names
    echo / >model/rw/autorun.scr
    head -c "$1" /dev/zero | tr '\0' x >model/var/pdb/system/image
    for ((i = 0; i < 300; i++)); do echo $i >"model/names/a_name_that_is_not_short_$i"; done
}

for type in ext3 ext4; do
    for size in 1024 4096; do
        make_model 200000
        random_steps "$type, blocks of $size" 60 names -t $type -b $size -N 2000 image 16M
        # Of 5 MiB the journal takes 1; what is left is soon full.
        make_model 2600000
        random_steps "$type, blocks of $size, nearly full" 40 names -t $type -b $size -N 600 -m 2 \
            -J size=1 -O ^resize_inode image 5M
    done
done

# 30 000 files in hashed folders, where a name is found by its hash alone; with blocks of
# 1 KiB and such names the index has two levels.  (mke2fs takes a minute for one folder.)
make_many() {
    local i
    make_model 200000
    mkdir model/many-{0..9}
    for ((i = 0; i < 30000; i++)); do
        echo "many-$((i % 10))/one_of_many_files_with_a_long_name_$i"
    done | (cd model && xargs touch)
}
make_many
random_steps "ext3, 30 000 files" 12 many-0 -t ext3 -b 1024 -N 40000 image 40M
# The steps never remove this one.
debugfs -R "htree_dump /many-0" image >htree 2>/dev/null
check "the index has two levels there" grep -q 'Indirect levels: 1' htree
make_many
random_steps "ext4, 30 000 files" 12 many-0 -t ext4 -b 4096 -N 40000 image 40M

done_testing
