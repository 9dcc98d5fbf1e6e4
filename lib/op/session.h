/*
 * A session: files of an image are read and changed, in memory; at the end all of it
 * is verified and written in one step, or dropped.
 *
 *   open     tables; which partition is which; an overlay in memory
 *   side     a partition's journal is replayed where need be, its tree read
 *   edit     by the editors of ext and FAT
 *   finish   verified by readers that share nothing with the editors; untouched files
 *            must be untouched; then commit.h
 *
 * With a snapshot, a zip or for a dry run nothing is written; all else is the same.
 */
#ifndef CHRIMG_OP_SESSION_H
#define CHRIMG_OP_SESSION_H

#include "fs/edit.h"
#include "fs/ext_edit.h"
#include "fs/fat_edit.h"
#include "fs/journal.h"
#include "op/image.h"
#include "op/untouched.h"
#include "part/table.h"

enum session_side { SESSION_ROOT, SESSION_BOOT, SESSION_SIDES };

/* What a new file or folder takes its attributes from; kept for the next one beside it. */
struct example {
    char *folder; /* NULL: none was looked for yet */
    const struct file_node *node; /* of side->before; NULL: there is none */
};

/* One partition.  Read by side_open(), changed by the functions below. */
struct side {
    const struct chr_image *image; /* borrowed */
    const struct partition *partition;
    bool is_boot;
    struct blk *window; /* on the overlay */
    enum chr_contents contents; /* CHR_CONTENTS_EXT or CHR_CONTENTS_FAT */
    struct file_tree before; /* from the first change on */
    struct example file_example;
    struct example folder_example;
    struct ext_edit *ext; /* one of the two, from the first change on */
    struct fat_edit *fat;
    struct touched touched;
    int64_t newest; /* of BEFORE: the time of what is written, unless another is given */
};

struct session {
    struct chr_image *image; /* borrowed */
    struct table *table;
    struct blk *replayed; /* overlay on the disk: what journals held */
    struct blk *overlay;  /* on that: our own changes */
    struct side sides[SESSION_SIDES];
    const int64_t *modified;
    struct chr_journal_report journal; /* of all sides together */
};

/*
 * Begin on IMAGE.  MODIFIED is the time of all that is written, or NULL for the newest
 * that a file of the partition has: no clock gets into an image.
 */
int session_open(struct chr_image *image, const int64_t *modified, struct session *out,
                 struct chr_error *err);
void session_release(struct session *session);
#define AUTO_SESSION CLEANUP(session_release)

/*
 * The boot or root partition, for reading: a dirty journal is replayed in memory.
 * CHR_E_REFUSED when there is none with files.  Where the boot partition is the root,
 * too, as on RouterOS 6, there is SESSION_ROOT alone.
 */
int session_side(struct session *session, enum session_side which, struct side **out,
                 struct chr_error *err);

/* Say how e2fsck gets at an ext whose damage ERR tells of; returns -1. */
int side_way_out(const struct side *side, struct chr_error *err);

/*
 * From here on large files may wait in a file without a name beside the image, where there
 * must be room for them anyway, and not in memory.  What was put before stays in memory:
 * the values of secrets get into no temporary file.  Where a journal was replayed all is
 * in memory in the end.
 */
int session_spill(struct session *session, struct chr_error *err);

/* ---- reading ---- */

/*
 * What is at a path: node INDEX of TREE, whose root is the folder at FOLDER.  A folder
 * is the root itself.
 */
struct found {
    struct file_tree tree;
    size_t index;
    char *folder; /* "" for the top; the node's path is FOLDER/nodes[INDEX].path */
};

/*
 * Find what is at PATH; for a folder, TREE holds what is in it, with all below when
 * RECURSIVE.  CHR_E_MISSING.
 */
int side_find(struct side *side, const char *path, bool recursive, struct found *out,
              struct chr_error *err);
void found_release(struct found *found);
#define AUTO_FOUND CLEANUP(found_release)

/* The path of NODE (of FOUND's tree) from the top of the partition; the caller frees it. */
char *found_path(const struct found *found, const struct file_node *node, struct chr_error *err);

/* The whole tree as it is now. */
int side_read_all(struct side *side, struct file_tree *tree, struct chr_error *err);

/* ---- changing; paths as in ext_edit.h ---- */

/* What is at PATH by now; CHR_E_MISSING when nothing is. */
int side_stat(struct session *session, struct side *side, const char *path,
              struct edit_entry *out, struct chr_error *err);

/*
 * Attributes for a new file or folder at PATH: those of what is there, else of the first
 * of its kind beside it, else of the folder that it is in, read and write only.
 */
int side_attributes(struct session *session, struct side *side, const char *path,
                    enum file_kind kind, struct edit_attributes *out, struct chr_error *err);

/*
 * Put a file; folders above it that are missing are made.  CHR_E_REFUSED for what the BIOS
 * loader finds by its sectors, which would be others then; for side_remove(), too.
 */
int side_put(struct session *session, struct side *side, const char *path,
             const struct edit_source *source, const struct edit_attributes *attributes,
             struct chr_error *err);

/* Whether this session has put what is at PATH; *YES. */
int side_has_put(const struct side *side, const char *path, bool *yes, struct chr_error *err);

/* Make the folder PATH, and those above it, where they are missing. */
int side_make_folder(struct session *session, struct side *side, const char *path,
                     struct chr_error *err);

int side_remove(struct session *session, struct side *side, const char *path, bool recursive,
                struct chr_error *err);

/*
 * Verify all changes, and write them when COMMIT.  *CHANGED is how many bytes of the
 * image they are, whole sectors; 0: it was as it should be already.
 */
int session_finish(struct session *session, bool commit, uint64_t *changed,
                   struct chr_error *err);

#endif
