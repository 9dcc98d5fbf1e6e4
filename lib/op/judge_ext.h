/* Whether an ext file system is sound, by e2fsck where it is installed. */
#ifndef CHRIMG_OP_JUDGE_EXT_H
#define CHRIMG_OP_JUDGE_EXT_H

#include "block/blk.h"

struct ext_judgement {
    bool sound;
    bool by_e2fsck;     /* else by reading every folder and block map ourselves */
    char problem[200];  /* when not sound: the first complaint */
};

/*
 * Judge the file system on WINDOW.  Writes nothing to it: e2fsck -fn runs on a
 * sparse copy in the folder for temporary files.
 */
int judge_ext(struct blk *window, struct ext_judgement *out, struct chr_error *err);

#endif
