/* Files on the host: outputs that appear whole or not at all. */
#ifndef CHRIMG_OP_FILES_H
#define CHRIMG_OP_FILES_H

#include "block/blk.h"

/* "dir/name" -> "dir/.name" + SUFFIX; the caller frees it. */
char *hidden_path_beside(const char *path, const char *suffix, struct chr_error *err);

/* Whether both names lead to one file, by whatever links. */
bool same_file(const char *a, const char *b);

/* Make the names in PATH's folder durable. */
int sync_folder_of(const char *path, struct chr_error *err);

/*
 * An output that is being made.  Until output_publish() nothing has its name;
 * where the host can (Linux, O_TMPFILE), it has no name at all, so that even a
 * killed run leaves nothing behind.
 */
struct output {
    struct blk *blk;  /* write here; owned */
    char *path;       /* the final name */
    char *temporary;  /* the name until then, or NULL for none */
    bool force;
};

/* Whether an output may be made at PATH: the folder is there, and PATH is not, or FORCE. */
int output_check(const char *path, bool force, struct chr_error *err);

/* Begin an output of SIZE bytes, all zeros.  CHR_E_EXISTS when PATH is there and not FORCE. */
int output_begin(const char *path, uint64_t size, bool force, struct output *out,
                 struct chr_error *err);

/* fsync, give it its name, and make the name durable.  OUT is released. */
int output_publish(struct output *out, struct chr_error *err);

/* Forget the output; also for use as a cleanup attribute.  Nothing is left. */
void output_discard(struct output *out);
#define AUTO_OUTPUT CLEANUP(output_discard)

#endif
