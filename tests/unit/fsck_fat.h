/* fsck.fat as a judge of what is in memory; leaves it in FSCK_IMAGE. */
#ifndef CHRIMG_TESTS_FSCK_FAT_H
#define CHRIMG_TESTS_FSCK_FAT_H

#include "memory_blk.h"
#include "unit.h"

#define FSCK_IMAGE "fat.img"

/* fsck.fat says its version and its summary, and nothing else. */
static inline void run_fsck(const struct memory *memory)
{
    char line[512];
    int lines = 0;
    FILE *output;

    write_file(FSCK_IMAGE, memory->bytes, memory->blk.size);
    output = popen("PATH=$PATH:/usr/sbin:/sbin fsck.fat -n " FSCK_IMAGE " 2>&1", "r");
    assert_non_null(output);
    while (fgets(line, sizeof line, output) != NULL)
        if (strncmp(line, "fsck.fat ", 9) != 0 && strncmp(line, FSCK_IMAGE ": ", 9) != 0)
            fail_msg("fsck.fat: %s", line);
        else
            lines++;
    assert_int_equal(pclose(output), 0);
    assert_int_equal(lines, 2);
}

#endif
