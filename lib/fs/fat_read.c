/*
 * The FAT reader.
 *
 *   BPB      11 2 bytes per sector        Folder entry, 32 bytes
 *            13 1 sectors per cluster      0 11 name, padded with spaces
 *            14 2 reserved sectors        11  1 attributes
 *            16 1 number of FATs          13  1 created, 10 ms
 *            17 2 root entries            14  2 created, time; 16 2 date
 *            19 2 total sectors           18  2 accessed, date
 *            22 2 sectors per FAT         20  2 first cluster, high
 *            32 4 total sectors (large)   22  2 modified, time; 24 2 date
 *   FAT12/16 38 1 0x29  39 4 serial  43 11 label
 *   FAT32    36 4 sectors per FAT  44 4 root cluster  66 1 0x29  67 4  71 11
 *                                         26  2 first cluster; 28 4 size
 */
#include "fs/fat.h"

#include <ctype.h>
#include <inttypes.h>

#include "base/bytes.h"
#include "base/utf.h"

#define ENTRY_SIZE 32
#define LONG_NAME_UNITS 13
#define LONG_NAME_ENTRIES 20 /* 255 units at the most */
/* A FAT32 of 256 MiB of table is no boot partition of 32 MiB. */
#define MAX_FAT_BYTES (4u << 20)

enum {
    ATTRIBUTE_READ_ONLY = 0x01,
    ATTRIBUTE_VOLUME = 0x08,
    ATTRIBUTE_FOLDER = 0x10,
    ATTRIBUTE_LONG_NAME = 0x0F,
};

struct reader {
    struct blk *device;
    struct fat_info info;
    uint64_t root_offset; /* FAT12/16: the root folder's bytes */
    uint32_t root_entries;
    uint32_t root_cluster; /* FAT32 */
    uint32_t fat_bytes;
    uint64_t fat_offset;
    unsigned fat_count;
    uint8_t *fat;
    uint8_t *claimed; /* one byte a cluster: a chain goes through it */
    struct file_tree tree;
};

/* ---- the BPB ---- */

static bool bpb_plausible(const uint8_t *p)
{
    uint32_t sector = le16(p + 11);

    return (p[0] == 0xEB || p[0] == 0xE9) && p[510] == 0x55 && p[511] == 0xAA &&
           is_power_of_two(sector) && sector >= 512 && sector <= 4096 && is_power_of_two(p[13]) &&
           le16(p + 14) != 0 && (p[16] == 1 || p[16] == 2) && (p[21] == 0xF0 || p[21] >= 0xF8);
}

int fat_probe(struct blk *device, bool *found, struct chr_error *err)
{
    uint8_t sector[512];

    *found = false;
    if (device->size < sizeof sector)
        return 0;
    if (blk_read(device, 0, sector, sizeof sector, err) < 0)
        return -1;
    *found = bpb_plausible(sector);
    return 0;
}

int fat_traces(struct blk *device, bool *found, struct chr_error *err)
{
    uint8_t sector[512];

    *found = false;
    if (device->size < sizeof sector)
        return 0;
    if (blk_read(device, 0, sector, sizeof sector, err) < 0)
        return -1;
    /* The kind's name stands at 54 (FAT12, FAT16) or 82 (FAT32), behind the mark 0x29. */
    *found = memcmp(sector + 54, "FAT1", 4) == 0 || memcmp(sector + 82, "FAT32", 5) == 0 ||
             (sector[38] == 0x29 && sector[21] >= 0xF0);
    return 0;
}

static void copy_label(const uint8_t *p, char *label)
{
    size_t length = FAT_LABEL_SIZE - 1;

    while (length > 0 && p[length - 1] == ' ')
        length--;
    memcpy(label, p, length);
    label[length] = '\0';
}

static int decode_bpb(struct reader *r, const uint8_t *p, struct chr_error *err)
{
    struct fat_info *info = &r->info;
    uint64_t sector = le16(p + 11);
    uint64_t fat_sectors = le16(p + 22) != 0 ? le16(p + 22) : le32(p + 36);
    uint64_t total = le16(p + 19) != 0 ? le16(p + 19) : le32(p + 32);
    uint64_t root_sectors = (le16(p + 17) * (uint64_t)ENTRY_SIZE + sector - 1) / sector;
    uint64_t data = le16(p + 14) + p[16] * fat_sectors + root_sectors;
    uint64_t clusters;

    if (total == 0 || total * sector > r->device->size)
        return err_set(err, CHR_E_DAMAGED,
                       "FAT: the BPB claims %" PRIu64 " sectors, the partition has %" PRIu64, total,
                       r->device->size / sector);
    if (data >= total)
        return err_set(err, CHR_E_DAMAGED, "FAT: the BPB leaves no room for data");
    clusters = (total - data) / p[13];
    info->bits = clusters <= FAT12_MAX_CLUSTERS ? 12 : clusters <= FAT16_MAX_CLUSTERS ? 16 : 32;
    if ((info->bits == 32) != (le16(p + 22) == 0))
        return err_set(err, CHR_E_DAMAGED, "FAT: %" PRIu64 " clusters do not fit the BPB's kind",
                       clusters);
    if (fat_sectors * sector > MAX_FAT_BYTES)
        return err_set(err, CHR_E_UNSUPPORTED, "FAT: a table of %" PRIu64 " bytes is over %u",
                       fat_sectors * sector, MAX_FAT_BYTES);
    if ((clusters + 2) * info->bits > fat_sectors * sector * 8)
        return err_set(err, CHR_E_DAMAGED, "FAT: %" PRIu64 " clusters do not fit its table",
                       clusters);
    info->bytes_per_sector = (uint32_t)sector;
    info->cluster_size = (uint32_t)(sector * p[13]);
    info->clusters = (uint32_t)clusters;
    info->data_start = data * sector;
    info->size = total * sector;
    r->fat_offset = le16(p + 14) * sector;
    r->fat_bytes = (uint32_t)(fat_sectors * sector);
    r->fat_count = p[16];
    r->root_offset = (data - root_sectors) * sector;
    r->root_entries = le16(p + 17);
    r->root_cluster = info->bits == 32 ? le32(p + 44) : 0;
    p += info->bits == 32 ? 28 : 0;
    info->serial = p[38] == 0x29 ? le32(p + 39) : 0;
    if (p[38] == 0x29)
        copy_label(p + 43, info->label);
    return 0;
}

/* ---- the table ---- */

static uint32_t fat_entry(const struct reader *r, uint32_t cluster)
{
    const uint8_t *p = r->fat;

    if (r->info.bits == 16)
        return le16(p + 2 * cluster);
    if (r->info.bits == 32)
        return le32(p + 4 * (size_t)cluster) & 0x0FFFFFFF;
    p += cluster + cluster / 2;
    return cluster % 2 == 0 ? le16(p) & 0xFFFu : le16(p) >> 4;
}

static bool is_end(const struct reader *r, uint32_t entry)
{
    return entry >= (r->info.bits == 12 ? 0xFF8u : r->info.bits == 16 ? 0xFFF8u : 0x0FFFFFF8u);
}

static int read_tables(struct reader *r, struct chr_error *err)
{
    AUTO_FREE uint8_t *second = NULL;

    /* One more byte: the last FAT12 entry is read as 16 bits. */
    r->fat = mem_new(1, r->fat_bytes + 1, err);
    r->claimed = mem_new(r->info.clusters + 2, 1, err);
    if (r->fat == NULL || r->claimed == NULL ||
        blk_read(r->device, r->fat_offset, r->fat, r->fat_bytes, err) < 0)
        return -1;
    if (r->fat_count == 2) {
        second = mem_new(1, r->fat_bytes, err);
        if (second == NULL ||
            blk_read(r->device, r->fat_offset + r->fat_bytes, second, r->fat_bytes, err) < 0)
            return -1;
        if (memcmp(r->fat, second, r->fat_bytes) != 0)
            return err_set(err, CHR_E_DAMAGED, "FAT: the two copies of the table differ");
    }
    return 0;
}

/* Follow the chain from CLUSTER into the node's runs; *COUNT is its length. */
static int follow_chain(struct reader *r, uint32_t cluster, struct file_node *node,
                        uint64_t *count, struct chr_error *err)
{
    uint64_t size = r->info.cluster_size;

    for (*count = 0;; ++*count) {
        if (cluster < 2 || cluster >= r->info.clusters + 2)
            return err_set(err, CHR_E_DAMAGED, "FAT entry leads to cluster %" PRIu32
                           ", which is outside", cluster);
        if (r->claimed[cluster] != 0)
            return err_set(err, CHR_E_DAMAGED, "cluster %" PRIu32 " is used twice", cluster);
        r->claimed[cluster] = 1;
        if (file_node_add_run(node,
                              (struct file_run){.file_off = *count * size,
                                                .off = r->info.data_start + (cluster - 2) * size,
                                                .length = size},
                              err) < 0)
            return -1;
        cluster = fat_entry(r, cluster);
        if (is_end(r, cluster)) {
            ++*count;
            return 0;
        }
    }
}

/* ---- folder entries ---- */

/* The pieces of a long name stand before its short entry, last piece first. */
struct long_name {
    uint8_t units[LONG_NAME_ENTRIES * LONG_NAME_UNITS * 2];
    unsigned expected; /* number of the piece that must come next; 0 = complete */
    bool any;
    uint8_t checksum;
};

static void take_long_piece(struct long_name *name, const uint8_t *p)
{
    unsigned number = p[0] & 0x3F;
    uint8_t *units;

    if ((p[0] & 0x40) != 0) {
        *name = (struct long_name){.expected = number, .any = true, .checksum = p[13]};
        if (number > LONG_NAME_ENTRIES)
            name->any = false;
    }
    if (!name->any || number == 0 || number != name->expected || p[13] != name->checksum) {
        name->any = false;
        return;
    }
    units = name->units + (number - 1) * LONG_NAME_UNITS * 2;
    memcpy(units, p + 1, 10);
    memcpy(units + 10, p + 14, 12);
    memcpy(units + 22, p + 28, 4);
    name->expected--;
}

static uint8_t short_checksum(const uint8_t *p)
{
    uint8_t sum = 0;

    for (int i = 0; i < 11; i++)
        sum = (uint8_t)((sum >> 1 | sum << 7) + p[i]);
    return sum;
}

/* "NAME    EXT" to "NAME.EXT"; bits 3 and 4 of byte 12 mean lower case (Windows NT). */
static void short_name_text(const uint8_t *p, char *out)
{
    size_t length = 0;

    for (int i = 0; i < 11; i++) {
        bool lower = (p[12] & (i < 8 ? 0x08 : 0x10)) != 0;
        uint8_t c = i == 0 && p[0] == 0x05 ? 0xE5 : p[i];

        if (c == ' ')
            continue;
        if (i >= 8 && (length == 0 || strchr(out, '.') == NULL))
            out[length++] = '.';
        out[length++] = (char)(c >= 0x80 ? '_' : lower ? tolower(c) : c);
        out[length] = '\0';
    }
}

static void entry_name(const struct long_name *name, const uint8_t *p, char *out)
{
    if (name->any && name->expected == 0 && name->checksum == short_checksum(p))
        utf16le_to_utf8(name->units, LONG_NAME_ENTRIES * LONG_NAME_UNITS, out);
    else
        short_name_text(p, out);
}

/* Days from 1970 to a day of the Gregorian calendar, by the era of 400 years. */
static int64_t days_from_civil(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = y / 400;
    int year_of_era = y - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return (int64_t)era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
           day_of_year - 719468;
}

static int64_t time_of(uint16_t date, uint16_t time)
{
    if (date == 0)
        return 0;
    return days_from_civil(1980 + (date >> 9), date >> 5 & 15, date & 31) * 86400 +
           (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2;
}

static int check_name(const char *name, struct chr_error *err)
{
    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return err_set(err, CHR_E_DAMAGED, "a FAT entry's name is empty, a dot, or holds a /");
    return 0;
}

static int add_entry(struct reader *r, size_t folder, const uint8_t *p, const char *name,
                     struct chr_error *err)
{
    uint32_t cluster = le16(p + 26) | (r->info.bits == 32 ? (uint32_t)le16(p + 20) << 16 : 0);
    struct file_node *node;
    uint64_t count = 0;

    if (check_name(name, err) < 0)
        return -1;
    node = file_tree_add(&r->tree, folder, name, err);
    if (node == NULL)
        return -1;
    node->kind = (p[11] & ATTRIBUTE_FOLDER) != 0 ? FILE_FOLDER : FILE_REGULAR;
    node->mode = node->kind == FILE_FOLDER ? 0755
                 : (p[11] & ATTRIBUTE_READ_ONLY) != 0 ? 0444 : 0644;
    node->modified = time_of(le16(p + 24), le16(p + 22));
    node->created = time_of(le16(p + 16), le16(p + 14)) + p[13] / 100;
    node->accessed = time_of(le16(p + 18), 0);
    if (cluster != 0 && follow_chain(r, cluster, node, &count, err) < 0)
        return err_context(err, "%s", node->path);
    node->size = node->kind == FILE_FOLDER ? count * r->info.cluster_size : le32(p + 28);
    if (node->kind == FILE_REGULAR && count != (node->size + r->info.cluster_size - 1) /
                                                   r->info.cluster_size)
        return err_set(err, CHR_E_DAMAGED, "%s has %" PRIu64 " bytes, but %" PRIu64 " clusters",
                       node->path, node->size, count);
    if (node->kind == FILE_FOLDER && count == 0)
        return err_set(err, CHR_E_DAMAGED, "folder %s has no cluster", node->path);
    return 0;
}

/* Take the entries in the LEN bytes at P; *END says that the end mark was met. */
static int parse_entries(struct reader *r, size_t folder, const uint8_t *p, size_t len,
                         struct long_name *name, bool *end, struct chr_error *err)
{
    for (size_t at = 0; at + ENTRY_SIZE <= len && !*end; at += ENTRY_SIZE) {
        const uint8_t *entry = p + at;
        char text[LONG_NAME_ENTRIES * LONG_NAME_UNITS * 3 + 1] = "";

        if (entry[0] == 0) {
            *end = true;
        } else if (entry[0] == 0xE5) {
            name->any = false;
        } else if ((entry[11] & 0x3F) == ATTRIBUTE_LONG_NAME) {
            take_long_piece(name, entry);
        } else {
            if ((entry[11] & ATTRIBUTE_VOLUME) != 0) {
                if (folder == 0)
                    copy_label(entry, r->info.label);
            } else if (memcmp(entry, ".          ", 11) != 0 &&
                       memcmp(entry, "..         ", 11) != 0) {
                entry_name(name, entry, text);
                if (add_entry(r, folder, entry, text, err) < 0)
                    return -1;
            }
            name->any = false;
        }
    }
    return 0;
}

static int read_folder(struct reader *r, size_t folder, struct chr_error *err)
{
    bool fixed_root = folder == 0 && r->info.bits != 32;
    size_t step = fixed_root ? ENTRY_SIZE : r->info.cluster_size;
    uint64_t size = fixed_root ? (uint64_t)r->root_entries * ENTRY_SIZE
                               : r->tree.nodes[folder].size;
    AUTO_FREE uint8_t *buf = mem_new(1, step, err);
    struct long_name name = {0};
    bool end = false;

    if (buf == NULL)
        return -1;
    for (uint64_t off = 0; off < size && !end; off += step) {
        int result = fixed_root
                         ? blk_read(r->device, r->root_offset + off, buf, step, err)
                         : file_read(r->device, &r->tree.nodes[folder], off, buf, step, err);

        if (result < 0 || parse_entries(r, folder, buf, step, &name, &end, err) < 0)
            return -1;
    }
    return 0;
}

static int read_all(struct reader *r, struct chr_error *err)
{
    struct file_node *root = file_tree_add(&r->tree, 0, "", err);
    uint64_t count = 0;

    if (root == NULL)
        return -1;
    root->kind = FILE_FOLDER;
    root->mode = 0755;
    if (r->info.bits == 32 && follow_chain(r, r->root_cluster, root, &count, err) < 0)
        return err_context(err, "root folder");
    root->size = count * r->info.cluster_size;
    for (size_t i = 0; i < r->tree.count; i++)
        if (r->tree.nodes[i].kind == FILE_FOLDER && read_folder(r, i, err) < 0)
            return -1;
    for (uint32_t i = 2; i < r->info.clusters + 2; i++)
        r->info.free_clusters += fat_entry(r, i) == 0;
    return 0;
}

int fat_read(struct blk *device, struct fat_info *info, struct file_tree *tree,
             struct chr_error *err)
{
    struct reader r = {.device = device};
    uint8_t sector[512];
    int result = -1;

    if (blk_read(device, 0, sector, sizeof sector, err) < 0)
        return -1;
    if (!bpb_plausible(sector))
        return err_set(err, CHR_E_DAMAGED, "no FAT boot sector");
    if (decode_bpb(&r, sector, err) == 0 && read_tables(&r, err) == 0 && read_all(&r, err) == 0) {
        *info = r.info;
        *tree = r.tree;
        r.tree = (struct file_tree){0};
        result = 0;
    }
    free(r.fat);
    free(r.claimed);
    file_tree_release(&r.tree);
    return result;
}
