# What the judges of the journal's replay share.  Sourced after a lib.sh; has none of its own.
# shellcheck shell=bash

# is_clean IMAGE: e2fsck has nothing to say; with some faults it ends with 0 all the same.
is_clean() {
    local output
    output=$(e2fsck -fn "$1" 2>&1) && ! grep -qE '\? no|IGNORED' <<<"$output" && return 0
    echo "$output"
    return 1
}

# e2fsck_replays IMAGE OPTION...: status 1 says that it has changed something.
e2fsck_replays() {
    local status
    e2fsck "${@:2}" "$1" >e2fsck.log 2>&1
    status=$?
    [ "$status" -le 1 ] || { cat e2fsck.log; return 1; }
}

# same_files IMAGE IMAGE: by debugfs; names, links, contents, modes, owners, and times but of links.
same_files() {
    local image complaints
    for image; do
        rm -rf "$image.files"
        mkdir "$image.files"
        complaints=$(debugfs -R "rdump / $image.files" "$image" 2>&1 | grep -v '^debugfs [0-9]')
        [ -z "$complaints" ] || { echo "$image: $complaints"; return 1; }
        (cd "$image.files" && find . -type l -printf '%P -> %l\n' -o -printf '%P %y %m %U %G %T@\n' | sort) >"$image.list"
    done
    diff -r --no-dereference "$1.files" "$2.files" && diff "$1.list" "$2.list"
}

# same_blocks IMAGE IMAGE: after the replay alone.  But for fields of the superblock: free
# counts (e2fsck leaves them until its full check, we take the sums of the groups' at once),
# time of the last write and KiB written (it has a clock and counts itself), checksum, and the
# flag that there is an orphan file to be looked through.
same_blocks() {
    cmp -l "$1" "$2" | awk '
        { byte = $1 - 1 - 1024 }
        byte >= 12 && byte < 20 || byte == 102 || byte >= 344 && byte < 348 { next }
        byte >= 48 && byte < 52 || byte >= 376 && byte < 384 || byte >= 1020 && byte < 1024 { next }
        { print "byte " $1 - 1 " differs"; failed = 1 }
        END { exit failed }'
}
