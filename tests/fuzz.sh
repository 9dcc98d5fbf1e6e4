#!/usr/bin/env bash
# The fuzz targets, on their seeds and on all that once broke one.
. "$(dirname "$0")/lib.sh"
needs_tool mke2fs mkfs.fat mcopy sgdisk zip xxd qemu-img

check "the seeds can be made" "$SRC/tests/fuzz/seeds" seeds
for source in "$SRC"/tests/fuzz/*.c; do
    target=$(basename "$source" .c)
    for file in seeds/"$target"/*; do
        check "$target: $(basename "$file")" "$BUILD/tests/fuzz/$target" "$file"
        # A short file is the most usual kind of damage.
        head -c $(($(stat -c %s "$file") / 2)) "$file" >half
        check "$target: half of $(basename "$file")" "$BUILD/tests/fuzz/$target" half
    done
done

done_testing
