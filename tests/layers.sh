#!/usr/bin/env bash
# The layers of the sources, and that the check would notice.
. "$(dirname "$0")/lib.sh"

check "includes point downwards" "$SRC/scripts/check-layers" "$SRC"

# tree FILE INCLUDE: a tree of one source with one include.
tree() {
    rm -rf tree
    mkdir -p "tree/$(dirname "$1")"
    printf '#include <stdio.h>\n# include "%s"\n' "$2" >"tree/$1"
}

allowed() {
    tree "$1" "$2"
    check "$1 may include $2" "$SRC/scripts/check-layers" tree
}

caught() {
    tree "$1" "$2"
    check_exit "$1 may not include $2" 1 "^$1: line 2" "$SRC/scripts/check-layers" tree
}

allowed imgtool/main.c chrimg.h
allowed imgtool/main.c tool.h
allowed lib/op/fatten.c fs/ext.h
allowed lib/op/boot.c vm/launch.h
allowed lib/fs/ext.c block/blk.h
allowed lib/vm/argv.c base/error.h
allowed lib/block/blk.c base/bytes.h
allowed lib/base/error.h chrimg.h
caught imgtool/main.c op/fatten.h
caught imgtool/main.c base/bytes.h
caught lib/fs/ext.c part/gpt.h
caught lib/part/gpt.c qcow2/qcow2.h
caught lib/qcow2/header.c fs/fat.h
caught lib/block/raw.c part/mbr.h
caught lib/base/error.c block/blk.h
caught lib/vm/argv.c op/inspect.h
caught lib/fs/ext.c op/fatten.h
caught lib/fs/ext.c ../part/gpt.h
caught lib/other/x.c base/bytes.h
caught lib/chrimg.h base/error.h
caught fixtures/mkchr.c base/bytes.h
caught fixtures/mkchr.c chrimg.h

done_testing
