/*
 * Where a script differs from its source: what was put in for what.
 *
 * An edit never holds or replaces a newline, so lines keep their numbers.
 */
#ifndef CHRIMG_RSC_EDIT_H
#define CHRIMG_RSC_EDIT_H

#include "base/error.h"

struct rsc_edit {
    size_t off;        /* in the script, bytes */
    size_t len;        /* of what was put in */
    size_t source_len; /* characters of the source that it stands for */
    bool hidden;       /* a value, to be shown as ***; else a quote of ours */
};

struct rsc_edits {
    struct rsc_edit *items;
    size_t count;
    size_t capacity;
};

int rsc_edits_add(struct rsc_edits *edits, struct rsc_edit edit, struct chr_error *err);
void rsc_edits_release(struct rsc_edits *edits);

#endif
