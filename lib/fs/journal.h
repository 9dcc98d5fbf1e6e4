/*
 * The journal (jbd2) of an ext3 or ext4: replayed as the kernel and e2fsck do
 * (Linux kernel, Documentation/filesystems/ext4/journal.rst; fs/jbd2/recovery.c).
 */
#ifndef CHRIMG_FS_JOURNAL_H
#define CHRIMG_FS_JOURNAL_H

#include "block/blk.h"

struct journal_report {
    uint32_t transactions; /* complete ones, replayed */
    uint32_t blocks;       /* written by them */
    uint32_t revoked;      /* left out because a later transaction freed them */
    uint32_t orphans;      /* inodes of the orphan list, removed or truncated */
};

/*
 * Replay the journal of the ext on DEVICE (writable: an overlay) and empty it, then
 * work off the orphan list.  Nothing to do is no error: the report is all zeros.
 * CHR_E_UNSUPPORTED for a journal that cannot be replayed here (an external one, an
 * unknown feature, fast commits in it), CHR_E_DAMAGED where it contradicts itself; then
 * DEVICE must not be used, and the hint names the way out.
 */
int journal_recover(struct blk *device, struct journal_report *report, struct chr_error *err);

#endif
