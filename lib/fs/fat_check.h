/* What a FAT must be before it is changed; more than reading asks for. */
#ifndef CHRIMG_FS_FAT_CHECK_H
#define CHRIMG_FS_FAT_CHECK_H

#include "block/blk.h"

/*
 * Walk all of DEVICE's folders and chains as fat_read() does, and see that every
 * folder names itself and its parent in "." and "..", and that none is larger than
 * FAT allows.  CHR_E_DAMAGED with the place; nothing is mended.
 */
int fat_check_editable(struct blk *device, struct chr_error *err);

#endif
