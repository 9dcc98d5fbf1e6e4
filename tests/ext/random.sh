# Random steps on the root partition of a disk image: the disk, what should be on it (the
# folder `model`), and judges that say what is.  Sourced after judge/lib.sh and ext/lib.sh;
# nothing here uses chrimg.
# shellcheck shell=bash

# The same file systems and steps in each run, so that what fails once fails again.
SEED=${RANDOM_SEED:-4711}
UUID=c0ffee00-1234-4567-89ab-0123456789ab

# random N: sets `drawn` to one of 0 to N - 1.  Not printed: in a subshell RANDOM is another.
random() {
    drawn=$(((RANDOM * 32768 + RANDOM) % $1))
}

# draw_path FIND-TEST...: sets `path` to one of the model that passes, or to nothing.
draw_path() {
    local paths
    mapfile -t paths < <(cd model && find . "$@" -printf '%P\n' | LC_ALL=C sort)
    path=
    if [ ${#paths[@]} -gt 0 ]; then
        random ${#paths[@]}
        path=${paths[drawn]}
    fi
}

# ---- the disk ----

# make_tables LAYOUT ROOT-KIB: disk.img with a boot partition of 2 MiB and an empty root behind
# it, in a GPT that the MBR repeats, or in the MBR alone.
make_tables() {
    local sectors=$(($2 * 2))
    rm -f disk.img
    case $1 in
    gpt)
        truncate -s $(((34 + 4096 + sectors + 33) * 512)) disk.img
        sgdisk -a 1 -n 1:34:+4096 -n 2:4130:$((4130 + sectors - 1)) -t 1:8300 -t 2:8300 \
            -U $UUID -u 1:$UUID -u 2:$UUID -h 1:2:EE disk.img
        ;;
    mbr)
        truncate -s $(((1 + 4096 + sectors) * 512)) disk.img
        printf '%s\n' 'label: dos' 'label-id: 0' 'start=1, size=4096, type=83, bootable' \
            "start=4097, size=$sectors, type=83" | sfdisk -q disk.img
        ;;
    esac
    mkdir -p boot/EFI/BOOT
    yes loader | head -c 300000 >boot/EFI/BOOT/BOOTX64.EFI
    mke2fs -q -F -t ext2 -b 1024 -U $UUID -d boot -E offset=$(($(partition_start disk.img 1) * 512)) \
        disk.img 2M
}

# make_disk LAYOUT ROOT-KIB MKE2FS-OPTIONS...: the root has what the folder `tree` has.
make_disk() {
    local at
    make_tables "$1" "$2" || return 1
    at=$(($(partition_start disk.img 2) * 512))
    mke2fs -q -F -U $UUID -E hash_seed=$UUID,offset=$at -d tree "${@:3}" disk.img "$2K" || return 1
    # mke2fs leaves folders without an index.
    e2fsck -fyD "disk.img?offset=$at" >/dev/null
    is_clean "disk.img?offset=$at"
}

# begin_steps IMAGE ROOT-NUMBER: `root` is where the file system is, `model` what is on it.
begin_steps() {
    image=$1
    if [ "$image" = disk.qcow2 ]; then
        qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
        qemu-img snapshot -c before disk.qcow2
    fi
    cp --sparse=always disk.img first.img
    root_from=$(($(partition_start disk.img "$2") * 512))
    root_to=$((root_from + $(partition_sectors disk.img "$2") * 512))
    root="disk.img?offset=$root_from"
    rm -rf model
    ext_dump "$root" model || return 1
    list_root before
}

# ---- what is on it ----

# list_root FILE: all that is on the root, sorted, as "/PATH<tab>WHAT": for each name its inode,
# mode, owner, group and size, and with `sums` its time and the checksum of its bytes.
list_root() {
    (cd model && find . -type d -printf 'ls -p "/%P"\n') >list.commands
    rm -rf out
    if [ "$sums" = yes ]; then
        mkdir out
        echo 'rdump / out' >>list.commands
    fi
    {
        debugfs -f list.commands "$root" 2>/dev/null | awk '
            /^debugfs: ls -p / { folder = $0; gsub(/^debugfs: ls -p "|"$/, "", folder); next }
            /^\// {
                split($0, field, "/")
                if (field[2] == 0 || field[6] == ".." || field[6] == "." && folder != "/")
                    next
                path = field[6] == "." ? "/" : (folder == "/" ? "" : folder) "/" field[6]
                print path "\tis " field[2], field[3], field[4], field[5], field[7]
            }'
        if [ "$sums" = yes ]; then
            find out -mindepth 1 -printf '/%P\ttime %T@\n'
            find out -type f -print0 | xargs -0r sha256sum | awk '{ print substr($0, 70) "\tsum " $1 }'
        fi
    } | LC_ALL=C sort >"$1"
}

# What differs between two lists and is none of the paths in `touched`, nor below one of them,
# nor the time of a folder that holds one.
outside() {
    printf '/%s\n' "${touched[@]}" >touched.list
    LC_ALL=C comm -3 "$1" "$2" | sed 's/^\t//' | awk -F '\t' '
        function folder_of(path) { sub("/[^/]*$", "", path); return path }
        NR == FNR { touched[$1]; folder = folder_of($1); holds[folder == "" ? "/" : folder]; next }
        $2 ~ /^time/ && $1 in holds { next }
        {
            for (path = $1; path != ""; path = folder_of(path))
                if (path in touched) next
            print
        }' touched.list -
}

# ---- judging ----

# Fail the configuration with a reason; a reader needs the first ones.
complain() {
    complaints=$((complaints + 1))
    if [ $complaints -le 3 ]; then
        diag "step $step ($verb ${touched[*]}): $*"
    fi
}

# disk.img as QEMU reads it, and the snapshot as it was.
unpack_disk() {
    local problem
    if [ "$image" = disk.qcow2 ]; then
        problem=$(qemu-img check -f qcow2 disk.qcow2 2>&1) || complain "$problem"
        qemu-img convert -f qcow2 -O raw disk.qcow2 disk.img
        qemu-img convert -f qcow2 -O raw -l snapshot.name=before disk.qcow2 snapshot.img
        cmp snapshot.img first.img >log || complain "the snapshot: $(cat log)"
    fi
}

# What was touched is by debugfs what the model has.
judge_touched() {
    local path
    for path in "${touched[@]}"; do
        rm -rf dumped
        if [ -d "model/$path" ]; then
            mkdir dumped
            debugfs -R "rdump \"/$path\" dumped" "$root" >/dev/null 2>&1
            diff -r "dumped/${path##*/}" "model/$path" >log 2>&1 || complain "$(head -n 3 log)"
        elif [ -e "model/$path" ]; then
            debugfs -R "dump -p \"/$path\" dumped" "$root" >/dev/null 2>&1
            cmp dumped "model/$path" >log 2>&1 || complain "$(cat log)"
            [ "$(stat -c %Y dumped)" = "$SOURCE_DATE_EPOCH" ] || complain "it has another time"
            if [ -n "$mode" ] && ! debugfs -R "stat \"/$path\"" "$root" 2>/dev/null | grep -q "Mode: *$mode "; then
                complain "its mode is not $mode"
            fi
        elif debugfs -R "stat \"/$path\"" "$root" 2>/dev/null | grep -q ^Inode; then
            complain "$path is there still"
        fi
    done
}

judge_step() {
    local difference problem
    unpack_disk
    problem=$(is_clean "$root") || complain "$(grep -v ^Pass <<<"$problem" | head -n 5)"
    judge_touched
    list_root after
    difference=$(outside before after)
    if [ -n "$difference" ]; then complain "outside: $(head -n 5 <<<"$difference")"; fi
    mv after before
    outside_of_root >log || complain "outside of the root partition: $(cat log)"
}

# All sectors before and behind the root partition are what they were.
outside_of_root() {
    cmp -n "$root_from" disk.img first.img && cmp -i "$root_to" disk.img first.img
}

# All files at once, whatever the steps were.
judge_all() {
    rm -rf out
    mkdir out
    debugfs -R "rdump / out" "$root" >/dev/null 2>&1
    diff -r -x lost+found out model >log 2>&1 || complain "$(head -n 3 log)"
}
