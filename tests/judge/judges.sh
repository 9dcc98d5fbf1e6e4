#!/usr/bin/env bash
# The judges' own helpers, on images whose answers are known.
. "$(dirname "$0")/lib.sh"
needs_tool debugfs dumpe2fs mshowfat mcopy

"$MKCHR" 7.19 ext.img
partition ext.img 1 ext
check_equal "the boot partition starts where the layout says" "$(partition_start ext.img 1)" 34
ext_sectors ext /map >map.sectors
check_equal "a file of 58880 bytes has 115 sectors" "$(wc -l <map.sectors)" 115
check "none of them is a hole" test "$(grep -c hole map.sectors)" = 0

# Reading the listed sectors must give the file.
gather() { # PARTITION <SECTORS
    local sector
    while read -r sector; do
        if [ "$sector" = hole ]; then
            head -c 512 /dev/zero
        else
            dd if="$1" bs=512 skip="$sector" count=1 status=none
        fi
    done
}
debugfs -R "dump /map map" ext 2>/dev/null
gather ext <map.sectors | head -c 58880 >map.gathered
check "and they hold the file" cmp map map.gathered

"$MKCHR" 7.20 holes.img --sparse --boot-block-size 1024
partition holes.img 1 holes
debugfs -R "dump /sparse.dat sparse.dat" holes 2>/dev/null
ext_sectors holes /sparse.dat >sparse.sectors
check "a sparse file has holes" grep -q hole sparse.sectors
gather holes <sparse.sectors | head -c "$(stat -c %s sparse.dat)" >sparse.gathered
check "and its sectors hold it" cmp sparse.dat sparse.gathered

"$MKCHR" 7.20 extents.img --boot-ext4
partition extents.img 1 extents
debugfs -R "dump /map map4" extents 2>/dev/null
ext_sectors extents /map >map4.sectors
gather extents <map4.sectors | head -c "$(stat -c %s map4)" >map4.gathered
check "extents are understood" cmp map4 map4.gathered

"$MKCHR" fat fat.img
partition fat.img 1 fat
mcopy -i fat ::/EFI/BOOT/BOOTX64.EFI kernel
fat_sectors fat EFI/BOOT/BOOTX64.EFI "$(stat -c %s kernel)" >kernel.sectors
check_equal "a FAT file's sectors are as many as it needs" "$(wc -l <kernel.sectors)" \
    $((($(stat -c %s kernel) + 511) / 512))
head -n 100 kernel.sectors | gather fat >kernel.gathered
check "and they hold it" cmp -n $((100 * 512)) kernel kernel.gathered
check_equal "a folder's sectors are whole clusters" "$(fat_sectors fat EFI | wc -l)" \
    "$(fat_cluster_sectors fat)"
fat_dump fat fat.files
check "mtools dumps the files" test -s fat.files/EFI/BOOT/BOOTX64.EFI
ext_dump ext ext.files
check "debugfs dumps the files" test -s ext.files/EFI/BOOT/BOOTX64.EFI
check "without lost+found" test ! -e ext.files/lost+found
truncate -s 1M no-ext
check "a dump that fails is noticed" eval '! ext_dump no-ext no-ext.files 2>/dev/null'

done_testing
