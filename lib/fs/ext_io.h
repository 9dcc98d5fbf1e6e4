/* libext2fs' io_manager on top of a blk. */
#ifndef CHRIMG_FS_EXT_IO_H
#define CHRIMG_FS_EXT_IO_H

#include <ext2fs/ext2fs.h>

#include "block/blk.h"

/*
 * libext2fs opens a device by name.  The name made here stands for a blk;
 * ext_io_manager turns it back.  The first error of the blk is kept in
 * `error`, because libext2fs passes on no more than a number.
 */
struct ext_io {
    struct blk *device; /* borrowed */
    struct chr_error error;
    char name[32];
};

void ext_io_init(struct ext_io *io, struct blk *device);

/* const, although libext2fs takes it without: it only reads it. */
extern const struct struct_io_manager ext_io_manager;

#endif
