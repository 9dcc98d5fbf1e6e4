/*
 * That a change did what it should and nothing else: every file but the touched ones
 * is where it was, as it was, and none of its sectors was written.
 */
#ifndef CHRIMG_OP_UNTOUCHED_H
#define CHRIMG_OP_UNTOUCHED_H

#include "fs/tree.h"

/* Paths that a change was asked for, as the files are called; what lies below is touched, too. */
struct touched {
    char **paths;
    size_t count;
    size_t capacity;
};

int touched_add(struct touched *touched, const char *path, struct chr_error *err);
/* Whether PATH is one of them; the last are looked at first. */
bool touched_has(const struct touched *touched, const char *path);
void touched_release(struct touched *touched);

/*
 * Hold AFTER against BEFORE, both trees of one partition that begins at byte START of
 * the disk, and the changed sectors of OVERLAY (of that disk) against the places of
 * untouched files.  CHR_E_INTERNAL says what should not have changed.
 */
int check_untouched(const struct file_tree *before, const struct file_tree *after,
                    const struct touched *touched, struct blk *overlay,
                    uint64_t start, struct chr_error *err);

#endif
