/* Files and folders of the host into a session. */
#ifndef CHRIMG_OP_PACK_H
#define CHRIMG_OP_PACK_H

#include "op/shortage.h"

/* One thing that was put. */
struct packed {
    const char *path;
    const char *source; /* file of the host, or NULL */
    bool is_folder;
    bool is_above; /* a folder that was missing above what was asked for */
    bool replaced;
    bool holds_values;
    uint64_t size;
    uint32_t mode;
};

struct pack {
    struct session *session;
    struct side *side;
    bool recursive;       /* folders, too; else CHR_E_USAGE */
    bool replace;         /* files that are there; else CHR_E_EXISTS, which it would mend */
    bool holds_values;    /* what is put does: its size would tell their length */
    const uint32_t *mode; /* of files; NULL: side_attributes() */
    struct shortage *shortage; /* gets what there is no room for, which is no failure here */
    /* Called for each file and each new folder; may fail. */
    int (*done)(void *context, const struct packed *packed, struct chr_error *err);
    void *context;
};

/*
 * Put SOURCE of the host at PATH, a folder with all below it in the order of names.
 * What is neither file nor folder is CHR_E_REFUSED; links in folders are not followed.
 */
int pack_source(const struct pack *pack, const char *source, const char *path,
                struct chr_error *err);

/* Put LEN bytes of memory as the file PATH. */
int pack_bytes(const struct pack *pack, const void *bytes, size_t len, const char *path,
               struct chr_error *err);

#endif
