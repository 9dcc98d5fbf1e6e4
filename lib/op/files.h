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
 * renameat() that replaces nothing: errno is EEXIST where there is such a name.
 * Returns 0 or -1; errno says why.
 */
int rename_to_free_name(int from_folder, const char *from, int to_folder, const char *to);

/*
 * Make a folder that only we can look into, in BESIDE's folder, or in $TMPDIR
 * when BESIDE is NULL: for files that other programs open by name.  The caller
 * removes it and frees the path.
 */
char *private_folder_new(const char *beside, struct chr_error *err);

/*
 * An output that is being made.  Until output_publish() nothing has its name;
 * where the host can (Linux, O_TMPFILE), it has no name at all, so that even a
 * killed run leaves nothing behind.
 */
struct output {
    struct blk *blk;  /* write here; owned */
    struct blk *old;  /* what will be replaced, locked until then; or NULL; owned */
    char *path;       /* the final name */
    char *temporary;  /* the name until then, or NULL for none */
    bool force;
};

/*
 * Whether an output may be made at PATH: the folder is there, and PATH is not, or
 * FORCE and nobody uses it (CHR_E_BUSY: a VM does, or we read it ourselves).
 */
int output_check(const char *path, bool force, struct chr_error *err);

/*
 * Begin an output of SIZE bytes, all zeros.  CHR_E_EXISTS when PATH is there and
 * not FORCE.  With FORCE an image at PATH is locked from here on until it is replaced.
 */
int output_begin(const char *path, uint64_t size, bool force, struct output *out,
                 struct chr_error *err);

/* The same with the file MADE, which another program has written beside PATH. */
int output_adopt(const char *made, const char *path, bool force, struct output *out,
                 struct chr_error *err);

/* Who may not read or write LIKE, may not the output either; its owner always may. */
int output_take_mode(struct output *out, const char *like, struct chr_error *err);

/*
 * fsync, give it its name, and make the name durable.  An undo file that an
 * earlier image of that name has left goes too.  OUT is released.
 */
int output_publish(struct output *out, struct chr_error *err);

/* Forget the output; also for use as a cleanup attribute.  Nothing is left. */
void output_discard(struct output *out);
#define AUTO_OUTPUT CLEANUP(output_discard)

#endif
