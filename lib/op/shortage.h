/*
 * Want of room, told once for all that is put: from the first file that does not fit on, files
 * are counted only.
 */
#ifndef CHRIMG_OP_SHORTAGE_H
#define CHRIMG_OP_SHORTAGE_H

#include "op/session.h"

/* Starts as zeros; release with shortage_release(). */
struct shortage {
    char *first; /* the path that did not fit; NULL: all did */
    uint64_t more; /* files and folders behind it */
    struct touched folders; /* that were counted */
    struct edit_need need;
    struct chr_error error; /* what was said of the first */
};

void shortage_release(struct shortage *shortage);
#define AUTO_SHORTAGE CLEANUP(shortage_release)

/* Count a file of SIZE bytes at PATH, or a folder; ERR is what was said of the first. */
int shortage_add(struct shortage *shortage, struct session *session, struct side *side,
                 const char *path, bool is_folder, uint64_t size, struct chr_error *err);

/* 0 when all fitted; else what is missing in all, and the command that makes room. */
int shortage_check(const struct shortage *shortage, const struct session *session,
                   struct side *side, struct chr_error *err);

#endif
