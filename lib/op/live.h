/* Snapshots of a disk that a running machine of ours writes to. */
#ifndef CHRIMG_OP_LIVE_H
#define CHRIMG_OP_LIVE_H

#include <stdio.h>

#include "op/boot.h"
#include "qcow2/qcow2.h"

struct live {
    struct vm_instance instance;
    struct vm_record record;
    struct vm_process process;
};

/* The machine that writes to the image PATH; false when there is none. */
bool live_find(const char *path, struct live *live);
void live_release(struct live *live);
#define AUTO_LIVE CLEANUP(live_release)

int live_create(struct live *live, const char *path, const char *tag, bool with_memory,
                struct chr_error *err);
int live_delete(struct live *live, const char *path, const char *tag,
                struct chr_snapshot_result *result, struct chr_error *err);

/*
 * With memory: the machine goes on from that instant.  Disk alone: the machine is turned
 * off, the disk made what it was, and the machine started again.
 */
int live_apply(struct live *live, const char *path, const char *tag, bool keep,
               struct chr_snapshot_result *result, struct chr_error *err);

/* snapshot.c: apply to an image that nobody uses; and the tag of what was there before. */
int snapshot_apply_file(const char *path, const char *tag, bool keep,
                        struct chr_snapshot_result *result, struct chr_error *err);
void live_kept_name(char *kept); /* 64 bytes */
/* The one with the tag TAG, else with that ID; NULL for none. */
const struct qcow2_snapshot *snapshot_find(const struct qcow2_snapshot *list, size_t count,
                                           const char *tag);
/* Say that TAG is taken, by the snapshot whose tag is NAME; returns -1. */
int snapshot_refuse_taken(const char *path, const char *tag, const char *name,
                          struct chr_error *err);
/* Say that FORMAT holds no snapshots; returns -1. */
int snapshot_refuse_format(const char *path, enum chr_format format, struct chr_error *err);

#endif
