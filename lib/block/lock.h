/*
 * QEMU's image locks: so that QEMU, qemu-img and chrimg refuse each other.
 *
 * Format: QEMU, block/file-posix.c (RAW_LOCK_PERM_BASE 100, RAW_LOCK_SHARED_BASE
 * 200) and docs/system/images, "Disk image file locking".  Each permission is
 * a bit; its owner holds a read lock on byte 100 + bit, and on byte 200 + bit
 * for each permission that it does not grant to others.  A conflict is another
 * process' lock on the opposite byte.  The locks are open file description
 * locks: they end with the descriptor, so a killed process leaves none.
 */
#ifndef CHRIMG_BLOCK_LOCK_H
#define CHRIMG_BLOCK_LOCK_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Lock FD for reading (others may read) or for writing (others may do
 * nothing).  NAME is for the message.  A file system without such locks is
 * fine: then there is nothing to honour either.  CHR_E_BUSY on conflict.
 */
int lock_image(int fd, bool writing, const char *name, struct chr_error *err);

#endif
