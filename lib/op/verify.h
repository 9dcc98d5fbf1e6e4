/* Holding a finished FAT against the files that it was made of. */
#ifndef CHRIMG_OP_VERIFY_H
#define CHRIMG_OP_VERIFY_H

#include "fs/tree.h"

/*
 * Whether the FAT on NEW_DEVICE, read into NEW_TREE by a reader that shares
 * nothing with the writer, holds the very files of OLD_TREE: names, sizes,
 * times (to FAT's two seconds) and every byte.  An empty lost+found may be
 * missing.  CHR_E_INTERNAL says what differs.
 */
int verify_files(struct blk *old_device, const struct file_tree *old_tree, struct blk *new_device,
                 const struct file_tree *new_tree, struct chr_error *err);

#endif
