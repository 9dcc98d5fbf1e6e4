/*
 * The image header and its extensions.
 */
#ifndef CHRIMG_QCOW2_HEADER_H
#define CHRIMG_QCOW2_HEADER_H

#include "qcow2/file.h"
#include "qcow2/format.h"

struct header {
    uint32_t version;
    uint64_t size; /* virtual, bytes */
    uint64_t backing_offset;
    uint32_t backing_length;
    uint32_t cluster_bits;
    uint32_t crypt;
    uint32_t l1_entries;
    uint64_t l1_offset;
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
    uint32_t snapshot_count;
    uint64_t snapshot_offset;
    uint64_t incompatible;
    uint64_t compatible;
    uint64_t autoclear;
    uint32_t refcount_order;
    uint32_t header_length;
    uint8_t compression;

    /* From the extensions. */
    uint32_t bitmap_count;
    uint64_t bitmap_directory_offset;
    uint64_t bitmap_directory_length;

    char *backing_name;   /* or NULL; owned */
    char *backing_format; /* or NULL; owned */
};

/* Read and check the header.  On failure *HEADER is untouched. */
int header_read(const struct host_file *file, struct header *header, struct chr_error *err);

void header_release(struct header *header);

/* Room for a new header: itself, the backing format's extension, the end mark, the backing name. */
#define HEADER_NEW_SIZE (HEADER_OUR_LENGTH + 2 * EXTENSION_HEAD + MAX_BACKING_FORMAT + MAX_BACKING_NAME)

/*
 * A whole new header (HEADER_OUR_LENGTH bytes, or HEADER_V2_LENGTH), its extensions, and
 * the backing file's name, where it has one.  Returns the length of all.
 */
size_t header_encode(const struct header *header, uint8_t out[HEADER_NEW_SIZE]);

/*
 * Write the fields that change in an image's life: size, tables, snapshots, and the
 * feature bits.  One write within the first sector, so it happens as a whole or not
 * at all.  What we do not know in the header and behind it stays.
 */
int header_update(const struct host_file *file, const struct header *header,
                  struct chr_error *err);

/* L1 entries that a disk of SIZE bytes needs. */
uint64_t header_l1_needed(uint64_t size, unsigned cluster_bits);

#endif
