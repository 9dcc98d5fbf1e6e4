/*
 * Changing an ext2, ext3 or ext4: files and folders put and removed, through
 * libext2fs on any blk.
 *
 * Nothing here is atomic: the caller gives an overlay, looks at the result
 * (ext_verify.h), and carries it out in one step, or drops it.  The look is no luxury:
 * blocks that two files share, and whatever else an image says of itself falsely, are
 * seen by the verifier alone.  When it refuses, running it on the untouched image tells
 * whether that was damaged before.
 *
 * Paths are "rw/autorun.scr", "" is the root; no ".", "..", empty component
 * (CHR_E_USAGE).  A symbolic link in a path is not followed but refused; so is what
 * chattr +i or +a protects.
 *
 * Deterministic: no clock and no random number.  The superblock keeps its write time,
 * which is also the deletion time of what is removed.  A folder's times go forward to
 * those of what is added to it, and stay when something is removed.  A new inode has
 * the generation after the one that was in its place.
 *
 * A call that fails before it has changed anything (CHR_E_SPACE, a path, a kind of file)
 * leaves EDIT as it was; after any other failure ext_edit_finish() refuses to write.
 */
#ifndef CHRIMG_FS_EXT_EDIT_H
#define CHRIMG_FS_EXT_EDIT_H

#include "fs/edit.h"
#include "fs/ext.h"

struct ext_edit;

/*
 * Open DEVICE (borrowed, writable) for changing.  CHR_E_REFUSED when the journal
 * has to be replayed first or orphans wait (journal.h), or when the file system has
 * errors that e2fsck must mend; CHR_E_UNSUPPORTED names a feature that cannot be
 * written: bigalloc, quota, project, verity, encrypt, casefold, inline_data, ea_inode,
 * mmp, shared_blocks, and every one that is unknown.
 */
int ext_edit_open(struct blk *device, struct ext_edit **out, struct chr_error *err);

/* What is at PATH; CHR_E_MISSING when nothing is. */
int ext_edit_stat(struct ext_edit *edit, const char *path, struct edit_entry *out,
                  struct chr_error *err);

/*
 * Make the regular file PATH hold what SOURCE gives.  One that is there is replaced: it
 * keeps its inode but loses its extended attributes; if it has other names, those keep
 * the old bytes, and PATH gets an inode of its own.  The folder must be there.
 * CHR_E_SPACE says how many bytes or inodes are missing; the share that is reserved for
 * root is left to the router.
 */
int ext_edit_put(struct ext_edit *edit, const char *path, const struct edit_source *source,
                 const struct edit_attributes *attributes, struct chr_error *err);

/* Make the folder PATH below one that is there; CHR_E_EXISTS when something is at PATH. */
int ext_edit_make_folder(struct ext_edit *edit, const char *path,
                         const struct edit_attributes *attributes, struct chr_error *err);

/*
 * Remove the name PATH, and what it stands for when that was its last name; a
 * folder that is not empty only when RECURSIVE.
 */
int ext_edit_remove(struct ext_edit *edit, const char *path, bool recursive,
                    struct chr_error *err);

/*
 * How many bytes one file may have that still fits, if the room is not in pieces (each
 * takes a little), and how many inodes are free.
 */
int ext_edit_room(struct ext_edit *edit, uint64_t *bytes, uint32_t *inodes,
                  struct chr_error *err);

/* Add to NEED what a new file of SIZE bytes takes, or a folder with SIZE of one block. */
void ext_edit_need(const struct ext_edit *edit, uint64_t size, struct edit_need *need);

/* What of NEED there is no room for, besides the share that is left to the router. */
void ext_edit_shortage(const struct ext_edit *edit, const struct edit_need *need,
                       struct edit_shortage *out);

/* Write what is still in memory, and close.  EDIT is gone even on failure. */
int ext_edit_finish(struct ext_edit **edit, struct chr_error *err);

/* Close without writing: DEVICE is of no use afterwards. */
void ext_edit_cleanup(struct ext_edit **edit);
#define AUTO_EXT_EDIT CLEANUP(ext_edit_cleanup)

#endif
