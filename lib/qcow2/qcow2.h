/*
 * qcow2 images: read, written in place, made, snapshotted, checked, repaired.
 *
 * Format: QEMU, docs/interop/qcow2.txt.  Versions 2 and 3, clusters of 512 bytes
 * to 2 MiB, refcounts of 1 to 64 bits, zlib and zstd clusters, backing files.
 * Extended L2 entries, external data files and encryption are refused by name.
 *
 * How an image changes: data goes to free clusters or to clusters that only the
 * active disk owns (with `atomic`: to free ones only).  All changed tables are written to free clusters as well, at
 * blk_flush() or at the end of a snapshot operation; one write of the header then
 * puts the whole of them in force.  So a power cut, a full disk or an I/O error
 * at any point leaves the tables as at the last flush or as at this one, nothing
 * between and nothing leaked.  What was not flushed when the image is closed is lost.
 */
#ifndef CHRIMG_QCOW2_QCOW2_H
#define CHRIMG_QCOW2_QCOW2_H

#include "block/blk.h"

/* Whether the LEN bytes of HEAD, the first of a file, begin like a qcow2 image. */
bool qcow2_probe(const uint8_t *head, size_t len);

/* How the host file gets another size; raw_resize() has this form. */
typedef int qcow2_resize_fn(struct blk *file, uint64_t size, struct chr_error *err);

struct qcow2_open_options {
    bool writable;        /* the tables are then checked in full first */
    bool atomic;          /* data too is never overwritten before the flush that makes it count */
    bool for_repair;      /* open damaged images for writing too; only qcow2_repair() may write */
    bool refuse_backing;  /* for images of unknown origin: do not follow a path they name */
    const char *path;     /* of the image: backing names are relative to it; NULL = the cwd */
    const char *snapshot; /* tag or ID: open this state, read only; NULL = the active one */
    qcow2_resize_fn *resize;  /* NULL = raw_resize() */
};

/*
 * Open the image in FILE, which is taken over, on failure too.  *OUT is the
 * virtual disk.  A dirty image (lazy refcounts) that is opened for writing has its
 * refcounts rebuilt first, as QEMU does.  Errors: CHR_E_UNSUPPORTED for features
 * that are refused by name, CHR_E_DAMAGED with the field or table at fault,
 * CHR_E_MISSING for an unknown snapshot or a backing file that is not there.
 */
int qcow2_open(struct blk *file, const struct qcow2_open_options *options, struct blk **out,
               struct chr_error *err);

/* ---- facts ---- */

enum qcow2_compression {
    QCOW2_ZLIB = 0,
    QCOW2_ZSTD = 1,
};

/*
 * The backing file that the qcow2 FILE names, as it spells it, and nothing else of it read;
 * *NAME is the caller's, NULL when there is none.
 */
int qcow2_backing_name(struct blk *file, char **name, struct chr_error *err);

struct qcow2_info {
    unsigned version;
    uint64_t virtual_size; /* of the active disk */
    uint32_t cluster_size;
    unsigned refcount_bits;
    enum qcow2_compression compression;
    bool dirty;
    bool corrupt;
    bool lazy_refcounts;
    bool bitmaps; /* has dirty bitmaps, which a write puts out of date */
    uint32_t snapshots;
    const char *backing_file;   /* as the image spells it, or NULL; lives as long as the image */
    const char *backing_format; /* or NULL */
};

void qcow2_get_info(const struct blk *image, struct qcow2_info *info);

/* ---- a larger disk ---- */

/*
 * Make the virtual disk SIZE bytes, what is added reading as zeros.  Comes in force
 * with the next blk_flush(), together with what is written before it.  Snapshots
 * keep the size that they have.  CHR_E_REFUSED when it is larger already, and for
 * version 2 with snapshots, to which QEMU could not go back.
 */
int qcow2_grow(struct blk *image, uint64_t size, struct chr_error *err);

/* Whether qcow2_grow() would refuse; the image may be open for reading only. */
int qcow2_check_growth(const struct blk *image, uint64_t size, struct chr_error *err);

/* ---- making an image ---- */

struct qcow2_create_options {
    unsigned version;       /* 2 or 3; 0 = 3 */
    uint32_t cluster_size;  /* a power of two, 512 to 2 MiB; 0 = 64 KiB */
    unsigned refcount_bits; /* a power of two, 1 to 64; 0 = 16 */
    bool compress;          /* clusters that get smaller by it */
    enum qcow2_compression compression;
    bool preallocate;       /* a place for every cluster, as preallocation=metadata */
    /* Zeros are then read from this file: its name as the image is to spell it, and its format
     * ("raw", "qcow2"), which must be stated.  The file is not looked at.  For qcow2_create() only; NULL = none. */
    const char *backing_file;
    const char *backing_format;
    unsigned threads;       /* 0 = one for each processor; the output does not depend on it */
    qcow2_resize_fn *resize;    /* NULL = raw_resize() */
    void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes; or NULL */
    void *progress_context;
};

/* Write an image of SIZE bytes of zeros to FILE (empty and writable, borrowed). */
int qcow2_create(struct blk *file, uint64_t size, const struct qcow2_create_options *options,
                 struct chr_error *err);

/*
 * Write an image that holds what SOURCE holds to FILE (empty and writable,
 * borrowed).  Zeros take no room.  The header is written last: an image that broke
 * off is none.  Nothing is flushed; that is for who gives the file its name.
 */
int qcow2_convert(struct blk *source, struct blk *file,
                  const struct qcow2_create_options *options, struct chr_error *err);

/* ---- snapshots ---- */

struct qcow2_snapshot {
    char *id;
    char *name; /* the tag */
    uint32_t date_seconds;
    uint32_t date_nanoseconds;
    uint64_t vm_clock_ns;
    uint64_t vm_state_size; /* bytes; 0 = disk only */
    uint64_t disk_size;     /* bytes */
};

/* The snapshots in the order of the table; free with qcow2_snapshots_free(). */
int qcow2_snapshot_list(const struct blk *image, struct qcow2_snapshot **list, size_t *count,
                        struct chr_error *err);
void qcow2_snapshots_free(struct qcow2_snapshot *list, size_t count);

/* Bytes of the file that only the snapshot TAG (or ID) holds: what its removal would free. */
int qcow2_snapshot_exclusive(struct blk *image, const char *tag, uint64_t *bytes,
                             struct chr_error *err);

/*
 * Keep the disk as it is under the name TAG, with the next free ID, dated as told.
 * CHR_E_EXISTS when a snapshot has this name or this ID.
 */
int qcow2_snapshot_create(struct blk *image, const char *tag, uint32_t seconds,
                          uint32_t nanoseconds, struct chr_error *err);

/*
 * Make the disk what it was at snapshot TAG (or ID); the snapshot stays.  The size
 * of the device changes to the snapshot's where it differs.
 */
int qcow2_snapshot_apply(struct blk *image, const char *tag, struct chr_error *err);

int qcow2_snapshot_delete(struct blk *image, const char *tag, struct chr_error *err);

/* ---- check and repair ---- */

#define QCOW2_FINDINGS 32       /* that a report keeps; the counts go on */
#define QCOW2_FINDING_SIZE 160

struct qcow2_check_report {
    uint64_t leaks;               /* clusters counted more often than they are used */
    uint64_t corruptions;         /* contradictions that can lose data */
    uint64_t unsound;             /* those of them in the references themselves: no repair */
    uint64_t clusters_referenced; /* of the file */
    uint64_t image_end;           /* byte behind the last referenced cluster */
    size_t findings_count;        /* at most QCOW2_FINDINGS */
    char findings[QCOW2_FINDINGS][QCOW2_FINDING_SIZE];
};

/* Count all references and compare; writes nothing.  -1 only when it could not be done. */
int qcow2_check(struct blk *image, struct qcow2_check_report *report, struct chr_error *err);

enum qcow2_repair_what {
    QCOW2_REPAIR_LEAKS, /* free what nothing refers to */
    QCOW2_REPAIR_ALL,   /* and set wrong refcounts and copied flags right, clear the marks */
};

/*
 * Repair what follows from the references alone; never guesses at data.  The report
 * says what was found before.  CHR_E_DAMAGED when the references themselves are
 * unsound, with nothing written.
 */
int qcow2_repair(struct blk *image, enum qcow2_repair_what what,
                 struct qcow2_check_report *report, struct chr_error *err);

#endif
