/*
 * The file that a command makes: its format, and a whole disk written to it.
 */
#ifndef CHRIMG_OP_TARGET_H
#define CHRIMG_OP_TARGET_H

#include "op/copy.h"
#include "op/files.h"

struct target_options {
    enum chr_format format; /* CHR_FORMAT_RAW or CHR_FORMAT_QCOW2 */
    enum chr_compression compression;
    uint32_t cluster_size;
    enum chr_preallocation preallocation;
    unsigned threads;
    bool force;
    const char *like; /* the input: who may not read it may not read the output; or NULL */
    struct progress progress;
};

/* The format that PATH's ending asks for: *.qcow2 and *.qcow, else raw. */
enum chr_format target_format_of(const char *path);

/*
 * Begin OUTPUT at PATH and write SOURCE into it.  Not published yet: the caller
 * verifies first.
 */
int target_write(struct blk *source, const char *path, const struct target_options *options,
                 struct output *output, struct chr_error *err);

/*
 * Open what target_write() made as a disk, for reading, on a descriptor of its
 * own: the verifier sees what the file holds.
 */
int target_reopen(const struct output *output, enum chr_format format, struct blk **disk,
                  struct chr_error *err);

#endif
