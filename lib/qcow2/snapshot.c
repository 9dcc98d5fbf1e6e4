/*
 * Internal snapshots.  Creating one costs no copy: it takes over the L1 and L2 tables
 * as they are on disk, and the active disk gets new ones without "copied" flags.
 */
#include "qcow2/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/map.h"
#include "qcow2/refcount.h"
#include "qcow2/walk.h"

/* ---- the table on disk ---- */

static void release_snapshot(struct snapshot *snapshot)
{
    free(snapshot->facts.id);
    free(snapshot->facts.name);
    free(snapshot->extra);
}

void snapshots_release(struct snapshots *snapshots)
{
    for (size_t i = 0; i < snapshots->count; i++)
        release_snapshot(&snapshots->list[i]);
    free(snapshots->list);
    *snapshots = (struct snapshots){0};
}

/* Read LENGTH bytes at *AT as a string, and step over them. */
static char *read_text(const struct image *image, uint64_t *at, size_t length,
                       struct chr_error *err)
{
    AUTO_FREE char *text = mem_new(length + 1, 1, err);

    if (text == NULL || (length != 0 && host_read(&image->file, *at, text, length, err) < 0))
        return NULL;
    if (strlen(text) != length) {
        (void)err_set(err, CHR_E_DAMAGED, "its ID or name has a zero byte inside");
        return NULL;
    }
    *at += length;
    return STEAL(text);
}

static int check_entry(const struct image *image, const struct snapshot *snapshot,
                       struct chr_error *err)
{
    uint64_t bytes = (uint64_t)snapshot->l1_entries * ENTRY_BYTES;

    if (bytes > MAX_L1_BYTES)
        return err_set(err, CHR_E_DAMAGED, "its L1 table has %" PRIu64 " bytes, more than %" PRIu64,
                       bytes, MAX_L1_BYTES);
    if (snapshot->l1_offset % image->cluster_size != 0)
        return err_set(err, CHR_E_DAMAGED, "its L1 table at offset %" PRIu64 " is not on a cluster",
                       snapshot->l1_offset);
    if (!range_within(snapshot->l1_offset, bytes, image->file.blk->size))
        return err_set(err, CHR_E_DAMAGED, "its L1 table at offset %" PRIu64
                       " is outside the file", snapshot->l1_offset);
    if (snapshot->facts.disk_size > INT64_MAX ||
        header_l1_needed(snapshot->facts.disk_size, image->header.cluster_bits) >
            MAX_L1_BYTES / ENTRY_BYTES)
        return err_set(err, CHR_E_DAMAGED, "its disk size %" PRIu64 " is not a possible one",
                       snapshot->facts.disk_size);
    return 0;
}

/* The extra data: missing fields have the values that version 2 gives them. */
static int read_extra(const struct image *image, struct snapshot *snapshot, uint32_t length,
                      uint64_t *at, struct chr_error *err)
{
    if (length > MAX_SNAPSHOT_EXTRA)
        return err_set(err, CHR_E_DAMAGED, "its extra data has %" PRIu32 " bytes, more than %u",
                       length, MAX_SNAPSHOT_EXTRA);
    snapshot->extra_length = (uint32_t)max_u64(length, SNAPSHOT_EXTRA_KNOWN);
    snapshot->extra = mem_new(snapshot->extra_length, 1, err);
    if (snapshot->extra == NULL ||
        (length != 0 && host_read(&image->file, *at, snapshot->extra, length, err) < 0))
        return -1;
    if (length >= SNAPSHOT_EXTRA_VM_STATE + 8)
        snapshot->facts.vm_state_size = be64(snapshot->extra + SNAPSHOT_EXTRA_VM_STATE);
    if (length >= SNAPSHOT_EXTRA_DISK_SIZE + 8)
        snapshot->facts.disk_size = be64(snapshot->extra + SNAPSHOT_EXTRA_DISK_SIZE);
    *at += length;
    return 0;
}

/* Decode the entry at *AT and step over it; on failure SNAPSHOT is to be released. */
static int read_entry(const struct image *image, uint64_t *at, struct snapshot *snapshot,
                      struct chr_error *err)
{
    uint8_t fixed[SNAPSHOT_FIXED_LENGTH];

    if (host_read(&image->file, *at, fixed, sizeof fixed, err) < 0)
        return -1;
    *at += sizeof fixed;
    snapshot->l1_offset = be64(fixed + SNAPSHOT_L1_OFFSET);
    snapshot->l1_entries = be32(fixed + SNAPSHOT_L1_ENTRIES);
    snapshot->facts.date_seconds = be32(fixed + SNAPSHOT_DATE_SECONDS);
    snapshot->facts.date_nanoseconds = be32(fixed + SNAPSHOT_DATE_NANOSECONDS);
    snapshot->facts.vm_clock_ns = be64(fixed + SNAPSHOT_CLOCK);
    snapshot->facts.vm_state_size = be32(fixed + SNAPSHOT_VM_STATE_32);
    snapshot->facts.disk_size = image->header.size;
    if (read_extra(image, snapshot, be32(fixed + SNAPSHOT_EXTRA_LENGTH), at, err) < 0)
        return -1;
    snapshot->facts.id = read_text(image, at, be16(fixed + SNAPSHOT_ID_LENGTH), err);
    if (snapshot->facts.id == NULL)
        return -1;
    snapshot->facts.name = read_text(image, at, be16(fixed + SNAPSHOT_NAME_LENGTH), err);
    if (snapshot->facts.name == NULL)
        return -1;
    return check_entry(image, snapshot, err);
}

static int read_all(const struct image *image, struct snapshots *out, struct chr_error *err)
{
    uint64_t start = image->header.snapshot_offset;
    uint64_t at = start;

    while (out->count < image->header.snapshot_count) {
        struct snapshot snapshot = {0};

        at = round_up(at, 8);
        if (mem_grow(&out->list, &out->capacity, out->count, sizeof *out->list, err) < 0)
            return -1;
        if (read_entry(image, &at, &snapshot, err) < 0) {
            release_snapshot(&snapshot);
            return err_context(err, "snapshot %zu of the table", out->count + 1);
        }
        out->list[out->count++] = snapshot;
        if (at - start > MAX_SNAPSHOT_TABLE_BYTES)
            return err_set(err, CHR_E_DAMAGED, "the snapshot table has more than %" PRIu64 " bytes",
                           MAX_SNAPSHOT_TABLE_BYTES);
    }
    out->table_bytes = at - start;
    return 0;
}

int snapshots_read(struct image *image, struct chr_error *err)
{
    struct snapshots read = {0};

    if (read_all(image, &read, err) < 0) {
        snapshots_release(&read);
        return -1;
    }
    snapshots_release(&image->snapshots);
    image->snapshots = read;
    image->snapshots_changed = false;
    return 0;
}

static uint64_t entry_bytes(const struct snapshot *snapshot)
{
    return SNAPSHOT_FIXED_LENGTH + snapshot->extra_length + strlen(snapshot->facts.id) +
           strlen(snapshot->facts.name);
}

static void encode_entry(const struct snapshot *snapshot, uint8_t *p)
{
    const struct qcow2_snapshot *facts = &snapshot->facts;
    size_t id_length = strlen(facts->id);
    size_t name_length = strlen(facts->name);

    put_be64(p + SNAPSHOT_L1_OFFSET, snapshot->l1_offset);
    put_be32(p + SNAPSHOT_L1_ENTRIES, snapshot->l1_entries);
    put_be16(p + SNAPSHOT_ID_LENGTH, (uint16_t)id_length);
    put_be16(p + SNAPSHOT_NAME_LENGTH, (uint16_t)name_length);
    put_be32(p + SNAPSHOT_DATE_SECONDS, facts->date_seconds);
    put_be32(p + SNAPSHOT_DATE_NANOSECONDS, facts->date_nanoseconds);
    put_be64(p + SNAPSHOT_CLOCK, facts->vm_clock_ns);
    /* A state too large for 32 bits is in the extra data alone, as in QEMU. */
    put_be32(p + SNAPSHOT_VM_STATE_32,
             facts->vm_state_size <= UINT32_MAX ? (uint32_t)facts->vm_state_size : 0);
    put_be32(p + SNAPSHOT_EXTRA_LENGTH, snapshot->extra_length);
    p += SNAPSHOT_FIXED_LENGTH;
    memcpy(p, snapshot->extra, snapshot->extra_length);
    put_be64(p + SNAPSHOT_EXTRA_VM_STATE, facts->vm_state_size);
    put_be64(p + SNAPSHOT_EXTRA_DISK_SIZE, facts->disk_size);
    p += snapshot->extra_length;
    memcpy(p, facts->id, id_length);
    memcpy(p + id_length, facts->name, name_length);
}

static int encode_table(const struct image *image, uint8_t **out, uint64_t *bytes,
                        struct chr_error *err)
{
    const struct snapshots *snapshots = &image->snapshots;
    uint64_t size = 0;
    uint8_t *table;

    for (size_t i = 0; i < snapshots->count; i++)
        size = round_up(size, 8) + entry_bytes(&snapshots->list[i]);
    if (size > MAX_SNAPSHOT_TABLE_BYTES)
        return err_set(err, CHR_E_SPACE,
                       "the snapshot table would have more than %" PRIu64 " bytes",
                       MAX_SNAPSHOT_TABLE_BYTES);
    table = mem_new(round_up(size, image->cluster_size), 1, err);
    if (table == NULL)
        return -1;
    *bytes = size;
    *out = table;
    size = 0;
    for (size_t i = 0; i < snapshots->count; i++) {
        size = round_up(size, 8);
        encode_entry(&snapshots->list[i], table + size);
        size += entry_bytes(&snapshots->list[i]);
    }
    return 0;
}

int snapshots_place(struct image *image, struct chr_error *err)
{
    struct header *header = &image->header;
    AUTO_FREE uint8_t *table = NULL;
    uint64_t offset;
    uint64_t bytes = 0;

    if (!image->snapshots_changed)
        return 0;
    if (encode_table(image, &table, &bytes, err) < 0 ||
        refcount_add(image, header->snapshot_offset, image->snapshots.table_bytes, -1, err) < 0 ||
        refcount_allocate(image, clusters_for(image, bytes), &offset, err) < 0)
        return -1;
    if (bytes != 0 &&
        host_write(&image->file, offset, table, round_up(bytes, image->cluster_size), err) < 0)
        return -1;
    image->snapshots.table_bytes = bytes;
    header->snapshot_offset = offset;
    header->snapshot_count = (uint32_t)image->snapshots.count;
    return 0;
}

/* ---- finding and listing ---- */

const struct snapshot *snapshots_find(const struct image *image, const char *tag,
                                      struct chr_error *err)
{
    const struct snapshot *by_name = NULL;
    const struct snapshot *by_id = NULL;

    for (size_t i = 0; i < image->snapshots.count; i++) {
        const struct snapshot *snapshot = &image->snapshots.list[i];

        if (strcmp(snapshot->facts.name, tag) == 0 && by_name != NULL) {
            (void)err_set(err, CHR_E_USAGE, "several snapshots are called %.200s", tag);
            (void)err_hint(err, "say which one by its ID");
            return NULL;
        }
        if (strcmp(snapshot->facts.name, tag) == 0)
            by_name = snapshot;
        if (strcmp(snapshot->facts.id, tag) == 0)
            by_id = snapshot;
    }
    if (by_name == NULL && by_id == NULL)
        (void)err_set(err, CHR_E_MISSING, "there is no snapshot %.200s", tag);
    return by_name != NULL ? by_name : by_id;
}

int snapshot_read_l1(const struct image *image, const struct snapshot *snapshot,
                     struct offsets *l1, struct chr_error *err)
{
    if (offsets_read(&image->file, snapshot->l1_offset, snapshot->l1_entries, l1, err) < 0)
        return err_context(err, "L1 table of snapshot %.200s", snapshot->facts.name);
    return 0;
}

void qcow2_snapshots_free(struct qcow2_snapshot *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].id);
        free(list[i].name);
    }
    free(list);
}

int qcow2_snapshot_list(const struct blk *blk, struct qcow2_snapshot **list, size_t *count,
                        struct chr_error *err)
{
    const struct image *image = (const struct image *)blk;
    size_t total = image->snapshots.count;
    struct qcow2_snapshot *copy = mem_new(total, sizeof *copy, err);

    if (copy == NULL)
        return -1;
    for (size_t i = 0; i < total; i++) {
        copy[i] = image->snapshots.list[i].facts;
        copy[i].id = mem_strdup(copy[i].id, err);
        copy[i].name = mem_strdup(copy[i].name, err);
        if (copy[i].id == NULL || copy[i].name == NULL) {
            qcow2_snapshots_free(copy, i + 1);
            return -1;
        }
    }
    *list = copy;
    *count = total;
    return 0;
}

/* ---- changing ---- */

/*
 * A snapshot operation is one change of its own: what was written before is committed
 * first, and when the operation fails nothing of it remains.
 */
static int begin(struct image *image, struct chr_error *err)
{
    if (!image->blk.writable)
        return err_set(err, CHR_E_REFUSED, "the image is open for reading only");
    return image_begin(image, err) == 0 ? image_commit(image, err) : -1;
}

static int end(struct image *image, int result, struct chr_error *err)
{
    struct chr_error ignored;

    if (result == 0)
        result = image_commit(image, err);
    if (result < 0 && image_abort(image, &ignored) < 0)
        image->failed = true;
    return result;
}

/* One more than the largest ID that is a number, as QEMU. */
static char *next_id(const struct image *image, struct chr_error *err)
{
    unsigned long long largest = 0;
    char text[32];

    for (size_t i = 0; i < image->snapshots.count; i++) {
        unsigned long long id = strtoull(image->snapshots.list[i].facts.id, NULL, 10);

        if (id > largest)
            largest = id;
    }
    (void)snprintf(text, sizeof text, "%llu", largest + 1);
    return mem_strdup(text, err);
}

static int check_new_tag(const struct image *image, const char *tag, struct chr_error *err)
{
    if (tag[0] == '\0' || strlen(tag) > UINT16_MAX)
        return err_set(err, CHR_E_USAGE, "a snapshot's name has 1 to %u bytes", UINT16_MAX);
    if (image->snapshots.count >= MAX_SNAPSHOTS)
        return err_set(err, CHR_E_SPACE, "the image has %u snapshots already, and no more fit",
                       MAX_SNAPSHOTS);
    for (size_t i = 0; i < image->snapshots.count; i++) {
        const struct qcow2_snapshot *facts = &image->snapshots.list[i].facts;

        if (strcmp(facts->name, tag) == 0 || strcmp(facts->id, tag) == 0)
            return err_set(err, CHR_E_EXISTS, "there is a snapshot %.200s already", tag);
    }
    return 0;
}

/* A table entry for the disk as it is; it takes the L1 table over. */
static int append_entry(struct image *image, const char *tag, uint32_t seconds,
                        uint32_t nanoseconds, struct chr_error *err)
{
    struct snapshots *snapshots = &image->snapshots;
    struct snapshot snapshot = {
        .facts = {.id = next_id(image, err),
                  .name = mem_strdup(tag, err),
                  .date_seconds = seconds,
                  .date_nanoseconds = nanoseconds,
                  .disk_size = image->header.size},
        .l1_offset = image->header.l1_offset,
        .l1_entries = image->header.l1_entries,
        .extra = mem_new(SNAPSHOT_EXTRA_KNOWN, 1, err),
        .extra_length = SNAPSHOT_EXTRA_KNOWN,
    };

    if (snapshot.facts.id == NULL || snapshot.facts.name == NULL || snapshot.extra == NULL ||
        mem_grow(&snapshots->list, &snapshots->capacity, snapshots->count,
                 sizeof *snapshots->list, err) < 0) {
        release_snapshot(&snapshot);
        return -1;
    }
    snapshots->list[snapshots->count++] = snapshot;
    image->snapshots_changed = true;
    return 0;
}

static int create(struct image *image, const char *tag, uint32_t seconds, uint32_t nanoseconds,
                  struct chr_error *err)
{
    if (append_entry(image, tag, seconds, nanoseconds, err) < 0 ||
        map_add_references(image, &image->l1, 1, err) < 0)
        return -1;
    /* Everything is shared now, so this gives the disk L2 tables of its own ... */
    if (map_refresh_copied(image, err) < 0)
        return -1;
    /* ... and the commit an L1 table; the old one is the snapshot's. */
    image->header.l1_offset = 0;
    image->l1_changed = true;
    return 0;
}

int qcow2_snapshot_create(struct blk *blk, const char *tag, uint32_t seconds,
                          uint32_t nanoseconds, struct chr_error *err)
{
    struct image *image = image_of(blk);

    if (begin(image, err) < 0 || check_new_tag(image, tag, err) < 0)
        return -1;
    return end(image, create(image, tag, seconds, nanoseconds, err), err);
}

/* The snapshot's L1 table, as long as both it and its disk need. */
static int l1_for_disk(struct image *image, const struct snapshot *snapshot, struct offsets *l1,
                       struct chr_error *err)
{
    uint64_t needed = header_l1_needed(snapshot->facts.disk_size, image->header.cluster_bits);
    uint64_t *grown;

    if (snapshot_read_l1(image, snapshot, l1, err) < 0)
        return -1;
    if (l1->count >= needed)
        return 0;
    grown = mem_new(needed, sizeof *grown, err);
    if (grown == NULL)
        return -1;
    memcpy(grown, l1->entries, l1->count * sizeof *grown);
    free(l1->entries);
    *l1 = (struct offsets){.entries = grown, .count = needed};
    return 0;
}

static int apply(struct image *image, const struct snapshot *snapshot, struct chr_error *err)
{
    struct offsets old = image->l1;
    struct offsets new = {0};
    int result;

    if (l1_for_disk(image, snapshot, &new, err) < 0 ||
        map_add_references(image, &new, 1, err) < 0) {
        free(new.entries);
        return -1;
    }
    image->l1 = new;
    image->l1_changed = true;
    image->header.size = snapshot->facts.disk_size;
    image->blk.size = snapshot->facts.disk_size;
    result = map_add_references(image, &old, -1, err);
    free(old.entries);
    return result == 0 ? map_refresh_copied(image, err) : -1;
}

int qcow2_snapshot_apply(struct blk *blk, const char *tag, struct chr_error *err)
{
    struct image *image = image_of(blk);
    const struct snapshot *snapshot;

    if (begin(image, err) < 0)
        return -1;
    snapshot = snapshots_find(image, tag, err);
    if (snapshot == NULL)
        return -1;
    return end(image, apply(image, snapshot, err), err);
}

static int delete(struct image *image, size_t index, struct chr_error *err)
{
    struct snapshots *snapshots = &image->snapshots;
    struct snapshot snapshot = snapshots->list[index];
    AUTO_FREE uint64_t *entries = NULL;
    struct offsets l1;

    if (snapshot_read_l1(image, &snapshot, &l1, err) < 0)
        return -1;
    entries = l1.entries;
    if (map_add_references(image, &l1, -1, err) < 0 ||
        refcount_add(image, snapshot.l1_offset, l1.count * ENTRY_BYTES, -1, err) < 0 ||
        map_refresh_copied(image, err) < 0)
        return -1;
    release_snapshot(&snapshot);
    snapshots->count--;
    memmove(&snapshots->list[index], &snapshots->list[index + 1],
            (snapshots->count - index) * sizeof *snapshots->list);
    image->snapshots_changed = true;
    return 0;
}

int qcow2_snapshot_delete(struct blk *blk, const char *tag, struct chr_error *err)
{
    struct image *image = image_of(blk);
    const struct snapshot *snapshot;

    if (begin(image, err) < 0)
        return -1;
    snapshot = snapshots_find(image, tag, err);
    if (snapshot == NULL)
        return -1;
    return end(image, delete(image, (size_t)(snapshot - image->snapshots.list), err), err);
}
