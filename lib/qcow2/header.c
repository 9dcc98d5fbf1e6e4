/* The image header: decoded into a plain struct, checked in full, then published. */
#include "qcow2/header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* The name of feature BIT in the image's own table, for features that came after us. */
static const char *feature_name(const uint8_t *table, size_t length, unsigned bit,
                                char name[static 47])
{
    enum { ENTRY = 48, NAME = 2 };

    for (size_t at = 0; at + ENTRY <= length; at += ENTRY) {
        if (table[at] == 0 && table[at + 1] == bit) {
            memcpy(name, table + at + NAME, ENTRY - NAME);
            name[ENTRY - NAME] = '\0';
            for (char *p = name; *p != '\0'; p++)
                if (*p < ' ' || *p > '~')
                    *p = '?';
            return name;
        }
    }
    return "unknown";
}

/* Calls FN for each extension; stops at the end mark.  A broken chain is an error. */
static int for_each_extension(const uint8_t *area, size_t size, size_t at,
                              int (*fn)(void *context, uint32_t type, const uint8_t *data,
                                        uint32_t length, struct chr_error *err),
                              void *context, struct chr_error *err)
{
    while (range_within(at, EXTENSION_HEAD, size)) {
        uint32_t type = be32(area + at);
        uint32_t length = be32(area + at + 4);

        if (type == EXTENSION_END)
            return 0;
        at += EXTENSION_HEAD;
        if (!range_within(at, length, size))
            return err_set(err, CHR_E_DAMAGED,
                           "header extension 0x%08" PRIx32 " of %" PRIu32
                           " bytes does not fit in its cluster",
                           type, length);
        if (fn(context, type, area + at, length, err) < 0)
            return -1;
        at += round_up(length, 8);
    }
    return 0;
}

struct feature_table {
    const uint8_t *data;
    size_t length;
};

static int find_feature_table(void *context, uint32_t type, const uint8_t *data, uint32_t length,
                              struct chr_error *err)
{
    (void)err;
    if (type == EXTENSION_FEATURE_NAMES)
        *(struct feature_table *)context = (struct feature_table){data, length};
    return 0;
}

static int check_features(const struct header *h, const uint8_t *area, size_t size,
                          struct chr_error *err)
{
    const uint64_t known = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT | INCOMPATIBLE_COMPRESSION;

    if ((h->incompatible & INCOMPATIBLE_DATA_FILE) != 0)
        return err_set(err, CHR_E_UNSUPPORTED,
                       "the image keeps its data in an external data file, which is not supported");
    if ((h->incompatible & INCOMPATIBLE_EXTENDED_L2) != 0)
        return err_set(err, CHR_E_UNSUPPORTED,
                       "the image has extended L2 entries (subclusters), which are not supported");
    if ((h->incompatible & ~known) != 0) {
        unsigned bit = (unsigned)__builtin_ctzll(h->incompatible & ~known);
        struct feature_table table = {0};
        struct chr_error ignored;
        char name[47];

        (void)for_each_extension(area, size, h->header_length, find_feature_table, &table,
                                 &ignored);
        return err_set(err, CHR_E_UNSUPPORTED,
                       "the image needs incompatible feature bit %u (%s), which is not supported",
                       bit, feature_name(table.data, table.length, bit, name));
    }
    return 0;
}

static struct header decode(const uint8_t *p)
{
    struct header h = {
        .version = be32(p + HEADER_VERSION),
        .size = be64(p + HEADER_SIZE),
        .backing_offset = be64(p + HEADER_BACKING_OFFSET),
        .backing_length = be32(p + HEADER_BACKING_LENGTH),
        .cluster_bits = be32(p + HEADER_CLUSTER_BITS),
        .crypt = be32(p + HEADER_CRYPT),
        .l1_entries = be32(p + HEADER_L1_ENTRIES),
        .l1_offset = be64(p + HEADER_L1_OFFSET),
        .reftable_offset = be64(p + HEADER_REFTABLE_OFFSET),
        .reftable_clusters = be32(p + HEADER_REFTABLE_CLUSTERS),
        .snapshot_count = be32(p + HEADER_SNAPSHOT_COUNT),
        .snapshot_offset = be64(p + HEADER_SNAPSHOT_OFFSET),
        /* Version 2 has no further fields; these are their values there. */
        .refcount_order = 4,
        .header_length = HEADER_V2_LENGTH,
    };

    if (h.version < 3)
        return h;
    h.incompatible = be64(p + HEADER_INCOMPATIBLE);
    h.compatible = be64(p + HEADER_COMPATIBLE);
    h.autoclear = be64(p + HEADER_AUTOCLEAR);
    h.refcount_order = be32(p + HEADER_REFCOUNT_ORDER);
    h.header_length = be32(p + HEADER_LENGTH);
    if (h.header_length > HEADER_COMPRESSION)
        h.compression = p[HEADER_COMPRESSION];
    return h;
}

static int check_geometry(const struct header *h, struct chr_error *err)
{
    if (h->version != 2 && h->version != 3)
        return err_set(err, CHR_E_UNSUPPORTED, "qcow2 version %" PRIu32 " is not supported",
                       h->version);
    if (h->cluster_bits < MIN_CLUSTER_BITS || h->cluster_bits > MAX_CLUSTER_BITS)
        return err_set(err, CHR_E_DAMAGED, "cluster bits are %" PRIu32 ", not in %u to %u",
                       h->cluster_bits, MIN_CLUSTER_BITS, MAX_CLUSTER_BITS);
    if (h->version == 3 && (h->header_length < HEADER_V3_LENGTH || h->header_length % 8 != 0 ||
                            h->header_length > UINT32_C(1) << h->cluster_bits))
        return err_set(err, CHR_E_DAMAGED,
                       "the header says it is %" PRIu32
                       " bytes long: not a multiple of 8 from %d to a cluster",
                       h->header_length, HEADER_V3_LENGTH);
    if (h->refcount_order > MAX_REFCOUNT_ORDER)
        return err_set(err, CHR_E_DAMAGED, "refcount order is %" PRIu32 ", more than %u",
                       h->refcount_order, MAX_REFCOUNT_ORDER);
    if (h->crypt != 0)
        return err_set(err, CHR_E_UNSUPPORTED,
                       "the image is encrypted (%s), which is not supported",
                       h->crypt == 1   ? "AES"
                       : h->crypt == 2 ? "LUKS"
                                       : "unknown method");
    return 0;
}

static int check_compression(const struct header *h, struct chr_error *err)
{
    bool marked = (h->incompatible & INCOMPATIBLE_COMPRESSION) != 0;

    if (h->compression > QCOW2_ZSTD)
        return err_set(err, CHR_E_UNSUPPORTED, "compression type %u is not supported",
                       h->compression);
    if (marked != (h->compression != QCOW2_ZLIB))
        return err_set(err, CHR_E_DAMAGED,
                       "compression type %u contradicts feature bit 3, which is %s",
                       h->compression, marked ? "set" : "clear");
    return 0;
}

uint64_t header_l1_needed(uint64_t size, unsigned cluster_bits)
{
    unsigned shift = cluster_bits + cluster_bits - 3; /* guest bytes under one L1 entry */

    return (size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);
}

static int check_aligned(const char *what, uint64_t off, const struct header *h,
                         struct chr_error *err)
{
    if ((off & ((UINT64_C(1) << h->cluster_bits) - 1)) != 0)
        return err_set(err, CHR_E_DAMAGED, "%s is at offset %" PRIu64 ", not on a cluster", what,
                       off);
    return 0;
}

static int check_table(const char *what, uint64_t off, uint64_t length, uint64_t limit,
                       const struct header *h, uint64_t file_size, struct chr_error *err)
{
    if (length > limit)
        return err_set(err, CHR_E_DAMAGED, "%s has %" PRIu64 " bytes, more than %" PRIu64, what,
                       length, limit);
    if (check_aligned(what, off, h, err) < 0)
        return -1;
    if (length != 0 && (off == 0 || !range_within(off, length, file_size)))
        return err_set(err, CHR_E_DAMAGED,
                       "%s (%" PRIu64 " bytes at offset %" PRIu64
                       ") is outside the file of %" PRIu64 " bytes",
                       what, length, off, file_size);
    return 0;
}

static int check_tables(const struct header *h, uint64_t file_size, struct chr_error *err)
{
    uint64_t reftable_bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;

    if (h->size > INT64_MAX)
        return err_set(err, CHR_E_DAMAGED, "the virtual size %" PRIu64 " is not a possible one",
                       h->size);
    if (header_l1_needed(h->size, h->cluster_bits) > MAX_L1_BYTES / ENTRY_BYTES)
        return err_set(err, CHR_E_DAMAGED,
                       "the virtual size %" PRIu64 " needs an L1 table of more than %" PRIu64
                       " bytes",
                       h->size, MAX_L1_BYTES);
    if (check_table("the L1 table", h->l1_offset, (uint64_t)h->l1_entries * ENTRY_BYTES,
                    MAX_L1_BYTES, h, file_size, err) < 0)
        return -1;
    if (h->l1_entries < header_l1_needed(h->size, h->cluster_bits))
        return err_set(err, CHR_E_DAMAGED,
                       "the L1 table has %" PRIu32 " entries, too few for a disk of %" PRIu64
                       " bytes",
                       h->l1_entries, h->size);
    if (h->reftable_clusters == 0)
        return err_set(err, CHR_E_DAMAGED, "the image has no refcount table");
    if (check_table("the refcount table", h->reftable_offset, reftable_bytes, MAX_REFTABLE_BYTES, h,
                    file_size, err) < 0)
        return -1;
    if (h->snapshot_count > MAX_SNAPSHOTS)
        return err_set(err, CHR_E_DAMAGED, "the image says it has %" PRIu32
                       " snapshots, more than %u", h->snapshot_count, MAX_SNAPSHOTS);
    return check_table("the snapshot table", h->snapshot_offset,
                       (uint64_t)h->snapshot_count * SNAPSHOT_FIXED_LENGTH,
                       MAX_SNAPSHOT_TABLE_BYTES, h, file_size, err);
}

/* A copy as a C string; names with a NUL inside cannot be meant. */
static int copy_text(const char *what, const uint8_t *text, size_t length, char **out,
                     struct chr_error *err)
{
    if (memchr(text, '\0', length) != NULL)
        return err_set(err, CHR_E_DAMAGED, "%s has a zero byte inside", what);
    free(*out);
    *out = mem_new(length + 1, 1, err);
    if (*out == NULL)
        return -1;
    memcpy(*out, text, length);
    return 0;
}

static int decode_bitmaps(struct header *h, const uint8_t *data, uint32_t length,
                          struct chr_error *err)
{
    if (length != 24)
        return err_set(err, CHR_E_DAMAGED, "the bitmaps extension has %" PRIu32 " bytes, not 24",
                       length);
    h->bitmap_count = be32(data);
    h->bitmap_directory_length = be64(data + 8);
    h->bitmap_directory_offset = be64(data + 16);
    if (h->bitmap_count > MAX_BITMAPS)
        return err_set(err, CHR_E_DAMAGED, "the image says it has %" PRIu32
                       " bitmaps, more than %u", h->bitmap_count, MAX_BITMAPS);
    return 0;
}

static int decode_extension(void *context, uint32_t type, const uint8_t *data, uint32_t length,
                            struct chr_error *err)
{
    enum { LONGEST_FORMAT_NAME = 16 }; /* QEMU's */
    struct header *h = context;

    switch (type) {
    case EXTENSION_BACKING_FORMAT:
        if (length >= LONGEST_FORMAT_NAME)
            return err_set(err, CHR_E_DAMAGED,
                           "the backing format's name has %" PRIu32 " bytes, more than %d", length,
                           LONGEST_FORMAT_NAME - 1);
        return copy_text("the backing format", data, length, &h->backing_format, err);
    case EXTENSION_BITMAPS:
        return decode_bitmaps(h, data, length, err);
    default: /* kept as it is: we never rewrite the area */
        return 0;
    }
}

static int decode_backing_name(struct header *h, const uint8_t *area, size_t size,
                               struct chr_error *err)
{
    if (h->backing_offset == 0)
        return 0;
    if (h->backing_length == 0 || h->backing_length > MAX_BACKING_NAME)
        return err_set(err, CHR_E_DAMAGED,
                       "the backing file's name has %" PRIu32 " bytes, not 1 to %u",
                       h->backing_length, MAX_BACKING_NAME);
    if (!range_within(h->backing_offset, h->backing_length, size))
        return err_set(err, CHR_E_DAMAGED,
                       "the backing file's name at offset %" PRIu64
                       " is not within the first cluster",
                       h->backing_offset);
    return copy_text("the backing file's name", area + h->backing_offset, h->backing_length,
                     &h->backing_name, err);
}

static int decode_rest(struct header *h, const uint8_t *area, size_t size, struct chr_error *err)
{
    if (for_each_extension(area, size, h->header_length, decode_extension, h, err) < 0)
        return -1;
    return decode_backing_name(h, area, size, err);
}

int header_read(const struct host_file *file, struct header *header, struct chr_error *err)
{
    uint8_t head[HEADER_OUR_LENGTH] = {0};
    AUTO_FREE uint8_t *area = NULL;
    struct header h;
    size_t size;

    if (file->blk->size < HEADER_V2_LENGTH)
        return err_set(err, CHR_E_DAMAGED, "a file of %" PRIu64 " bytes has no qcow2 header",
                       file->blk->size);
    if (host_read(file, 0, head, sizeof head, err) < 0)
        return -1;
    if (be32(head + HEADER_MAGIC) != QCOW2_MAGIC)
        return err_set(err, CHR_E_DAMAGED, "not a qcow2 image: the magic number is missing");
    h = decode(head);
    if (check_geometry(&h, err) < 0)
        return -1;

    size = (size_t)min_u64(UINT64_C(1) << h.cluster_bits, file->blk->size);
    area = mem_new(size, 1, err);
    if (area == NULL || host_read(file, 0, area, size, err) < 0 ||
        check_features(&h, area, size, err) < 0 || check_compression(&h, err) < 0 ||
        check_tables(&h, file->blk->size, err) < 0)
        return -1;
    if (decode_rest(&h, area, size, err) < 0) {
        header_release(&h);
        return -1;
    }
    *header = h;
    return 0;
}

void header_release(struct header *header)
{
    free(header->backing_name);
    free(header->backing_format);
}

/* The fields from HEADER_SIZE to HEADER_V2_LENGTH, or to HEADER_REFCOUNT_ORDER in version 3. */
static void encode_state(const struct header *h, uint8_t *out)
{
    put_be64(out + HEADER_SIZE, h->size);
    put_be32(out + HEADER_CRYPT, h->crypt);
    put_be32(out + HEADER_L1_ENTRIES, h->l1_entries);
    put_be64(out + HEADER_L1_OFFSET, h->l1_offset);
    put_be64(out + HEADER_REFTABLE_OFFSET, h->reftable_offset);
    put_be32(out + HEADER_REFTABLE_CLUSTERS, h->reftable_clusters);
    put_be32(out + HEADER_SNAPSHOT_COUNT, h->snapshot_count);
    put_be64(out + HEADER_SNAPSHOT_OFFSET, h->snapshot_offset);
    if (h->version == 2)
        return;
    put_be64(out + HEADER_INCOMPATIBLE, h->incompatible);
    put_be64(out + HEADER_COMPATIBLE, h->compatible);
    put_be64(out + HEADER_AUTOCLEAR, h->autoclear);
}

/* Extension of TYPE at P, filled up to 8 bytes; returns its length. */
static size_t encode_extension(uint8_t *p, uint32_t type, const char *text)
{
    size_t length = strlen(text);

    put_be32(p, type);
    put_be32(p + 4, (uint32_t)length);
    memcpy(p + EXTENSION_HEAD, text, length);
    return EXTENSION_HEAD + (size_t)round_up(length, 8);
}

/* The backing file's format, the end of the extensions, and the name; returns their end. */
static size_t encode_backing(const struct header *h, uint8_t *out, size_t at)
{
    size_t length = strlen(h->backing_name);

    at += encode_extension(out + at, EXTENSION_BACKING_FORMAT, h->backing_format);
    at += EXTENSION_HEAD; /* EXTENSION_END, length 0 */
    put_be64(out + HEADER_BACKING_OFFSET, at);
    put_be32(out + HEADER_BACKING_LENGTH, (uint32_t)length);
    memcpy(out + at, h->backing_name, length);
    return at + length;
}

size_t header_encode(const struct header *h, uint8_t out[HEADER_NEW_SIZE])
{
    size_t length = h->version == 2 ? HEADER_V2_LENGTH : HEADER_OUR_LENGTH;

    memset(out, 0, HEADER_NEW_SIZE);
    put_be32(out + HEADER_MAGIC, QCOW2_MAGIC);
    put_be32(out + HEADER_VERSION, h->version);
    put_be32(out + HEADER_CLUSTER_BITS, h->cluster_bits);
    encode_state(h, out);
    if (h->version != 2) {
        put_be32(out + HEADER_REFCOUNT_ORDER, h->refcount_order);
        put_be32(out + HEADER_LENGTH, HEADER_OUR_LENGTH);
        out[HEADER_COMPRESSION] = h->compression;
    }
    return h->backing_name != NULL ? encode_backing(h, out, length) : length + EXTENSION_HEAD;
}

int header_update(const struct host_file *file, const struct header *h, struct chr_error *err)
{
    uint8_t out[HEADER_REFCOUNT_ORDER];
    size_t end = h->version == 2 ? HEADER_V2_LENGTH : HEADER_REFCOUNT_ORDER;

    encode_state(h, out);
    return host_write(file, HEADER_SIZE, out + HEADER_SIZE, end - HEADER_SIZE, err);
}

bool qcow2_probe(const uint8_t *head, size_t len)
{
    /* Any version: what is not known is refused by name, never taken for a raw disk. */
    return len >= 8 && be32(head + HEADER_MAGIC) == QCOW2_MAGIC;
}
