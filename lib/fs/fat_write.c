/*
 * The FAT16 writer.  Everything is where the plan says; the byte tables are
 * those of FATGEN103, sections "Boot Sector and BPB", "FAT Data Structure" and
 * "FAT Directory Structure".
 */
#include "fs/fat_write.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/boot_sector.h"
#include "fs/fat_encode.h"
#include "fs/fat_entry.h"

#define MEDIA_FIXED_DISK 0xF8
#define END_OF_CHAIN 0xFFFF
#define FAT_COPIES 2
/* What the BPB says of a geometry that nothing uses since LBA came. */
#define SECTORS_PER_TRACK 63
#define HEADS 255

struct writer {
    struct blk *source;
    struct blk *target;
    const struct file_tree *tree;
    const struct fat_plan *plan;
    const struct fat_write_options *options;
    struct chr_error *err;
};

/* ---- boot sector ---- */

void fat_label_encode(const char *label, uint8_t out[11])
{
    size_t length = 0;

    memset(out, ' ', 11);
    for (const uint8_t *p = (const uint8_t *)label; *p != '\0' && length < 11; p++) {
        if ((*p & 0xC0) == 0x80)
            continue; /* one mark for each character */
        out[length++] = *p >= 0x80 || *p < 0x20 || strchr("\"*+,./:;<=>?[\\]|", *p) != NULL
                            ? '_' : *p;
    }
    if (length == 0)
        memcpy(out, "NO NAME    ", 11);
}

static void put_bpb(const struct writer *w, uint8_t *p)
{
    const struct fat_geometry *geometry = &w->plan->geometry;
    bool small = geometry->total_sectors < 0x10000;

    memcpy(p + 3, "CHRIMG  ", 8);
    put_le16(p + 11, FAT_SECTOR);
    p[13] = (uint8_t)geometry->sectors_per_cluster;
    put_le16(p + 14, (uint16_t)geometry->reserved_sectors);
    p[16] = FAT_COPIES;
    put_le16(p + 17, (uint16_t)geometry->root_entries);
    put_le16(p + 19, small ? (uint16_t)geometry->total_sectors : 0);
    p[21] = MEDIA_FIXED_DISK;
    put_le16(p + 22, (uint16_t)geometry->fat_sectors);
    put_le16(p + 24, SECTORS_PER_TRACK);
    put_le16(p + 26, HEADS);
    put_le32(p + 28, w->options->hidden_sectors);
    put_le32(p + 32, small ? 0 : geometry->total_sectors);
    p[36] = 0x80; /* first hard disk */
    p[37] = 0;    /* clean */
    p[38] = 0x29; /* serial, label and kind follow */
    put_le32(p + 39, w->options->serial);
    fat_label_encode(w->options->label, p + 43);
    memcpy(p + 54, "FAT16   ", 8);
}

static int write_reserved(const struct writer *w)
{
    uint64_t size = (uint64_t)w->plan->geometry.reserved_sectors * FAT_SECTOR;
    uint8_t sector[FAT_SECTOR];

    if (blk_read(w->source, 0, sector, sizeof sector, w->err) < 0)
        return -1;
    if (w->options->keep_boot_code) {
        /* The BPB's readers want EB xx 90; byte 2 lies in the hole. */
        if (sector[0] == 0xEB)
            sector[2] = 0x90;
    } else {
        boot_sector_put_message(sector);
    }
    put_bpb(w, sector);
    if (blk_write(w->target, 0, sector, sizeof sector, w->err) < 0)
        return -1;
    /* Sector 1 may be the loader's; the ext superblock (1024-2047) must go. */
    return blk_zero(w->target, 2 * FAT_SECTOR, size - 2 * FAT_SECTOR, w->err);
}

/* ---- tables ---- */

static int write_tables(const struct writer *w)
{
    const struct fat_geometry *geometry = &w->plan->geometry;
    size_t size = (size_t)geometry->fat_sectors * FAT_SECTOR;
    uint64_t start = (uint64_t)geometry->reserved_sectors * FAT_SECTOR;
    AUTO_FREE uint8_t *fat = mem_new(1, size, w->err);

    if (fat == NULL)
        return -1;
    put_le16(fat, 0xFF00 | MEDIA_FIXED_DISK);
    put_le16(fat + 2, END_OF_CHAIN); /* clean shutdown, no errors */
    for (size_t i = 1; i < w->plan->item_count; i++) {
        const struct fat_item *item = &w->plan->items[i];

        for (uint32_t k = 0; k < item->cluster_count; k++)
            put_le16(fat + 2 * (size_t)item->chain[k],
                     k + 1 < item->cluster_count ? item->chain[k + 1] : END_OF_CHAIN);
    }
    for (int copy = 0; copy < FAT_COPIES; copy++)
        if (blk_write(w->target, start + (uint64_t)copy * size, fat, size, w->err) < 0)
            return -1;
    return 0;
}

/* ---- folders ---- */

static struct fat_times times_of(const struct file_node *node)
{
    return (struct fat_times){node->created, node->accessed, node->modified};
}

static void put_short(uint8_t *p, const uint8_t alias[FAT_ALIAS_SIZE], const struct file_node *node,
                      uint16_t cluster)
{
    const struct fat_times times = times_of(node);
    bool folder = node->kind == FILE_FOLDER;

    fat_encode_short(p, alias, folder ? FAT_ATTRIBUTE_FOLDER : FAT_ATTRIBUTE_ARCHIVE, &times,
                     cluster, folder ? 0 : (uint32_t)node->size);
}

static uint16_t first_cluster(const struct fat_item *item)
{
    return item->cluster_count > 0 ? item->chain[0] : 0;
}

static unsigned put_dots(const struct writer *w, size_t folder, uint8_t *p)
{
    size_t parent = w->tree->nodes[folder].parent;

    put_short(p, (const uint8_t *)".          ", &w->tree->nodes[folder],
              first_cluster(&w->plan->items[folder]));
    /* ".." of a folder in the root says 0. */
    put_short(p + FAT_ENTRY_SIZE, (const uint8_t *)"..         ", &w->tree->nodes[parent],
              parent == 0 ? 0 : first_cluster(&w->plan->items[parent]));
    return 2;
}

static unsigned put_volume_label(const struct writer *w, uint8_t *p)
{
    const struct fat_times times = times_of(&w->tree->nodes[0]);

    memset(p, 0, FAT_ENTRY_SIZE);
    fat_encode_times(p, &times);
    memset(p + 13, 0, 7); /* of a label only the last change counts */
    fat_label_encode(w->options->label, p);
    p[11] = FAT_ATTRIBUTE_VOLUME;
    return 1;
}

/* All entries of a folder into BUF, which is zeroed; returns how many. */
static unsigned put_folder(const struct writer *w, size_t folder, uint8_t *buf)
{
    unsigned count = folder == 0 ? put_volume_label(w, buf) : put_dots(w, folder, buf);

    for (size_t i = folder + 1; i < w->tree->count; i++) {
        const struct file_node *node = &w->tree->nodes[i];
        const struct fat_item *item = &w->plan->items[i];

        if (node->parent != folder || !fat_plan_includes(w->tree, i))
            continue;
        if (item->has_long_name)
            count += fat_encode_long_name(buf + count * FAT_ENTRY_SIZE, node->name, item->alias);
        put_short(buf + count * FAT_ENTRY_SIZE, item->alias, node, first_cluster(item));
        count++;
    }
    return count;
}

static int write_folder(const struct writer *w, size_t folder)
{
    const struct fat_geometry *geometry = &w->plan->geometry;
    const struct fat_item *item = &w->plan->items[folder];
    size_t step = (size_t)geometry->sectors_per_cluster * FAT_SECTOR;
    size_t size = folder == 0 ? (size_t)geometry->root_entries * FAT_ENTRY_SIZE
                              : item->cluster_count * step;
    AUTO_FREE uint8_t *buf = mem_new(1, size, w->err);

    if (buf == NULL)
        return -1;
    if (put_folder(w, folder, buf) != item->entry_count)
        return err_set(w->err, CHR_E_INTERNAL, "folder /%s: more or fewer entries than planned",
                       w->tree->nodes[folder].path);
    if (folder == 0)
        return blk_write(w->target, (uint64_t)geometry->data_sector * FAT_SECTOR - size, buf, size,
                         w->err);
    for (uint32_t i = 0; i < item->cluster_count; i++)
        if (blk_write(w->target, fat_cluster_offset(geometry, item->chain[i]), buf + i * step, step,
                      w->err) < 0)
            return -1;
    return 0;
}

/* ---- files ---- */

static int write_file(const struct writer *w, size_t index)
{
    const struct fat_item *item = &w->plan->items[index];
    size_t size = (size_t)w->plan->geometry.sectors_per_cluster * FAT_SECTOR;
    AUTO_FREE uint8_t *buf = mem_new(1, size, w->err);

    if (buf == NULL)
        return -1;
    for (uint32_t i = 0; i < item->cluster_count; i++) {
        uint64_t at = fat_cluster_offset(&w->plan->geometry, item->chain[i]);
        int result = 0;

        if (item->source[i] == FAT_ZEROED) {
            result = blk_zero(w->target, at, size, w->err);
        } else if (item->source[i] == FAT_COPIED) {
            result = file_read(w->source, &w->tree->nodes[index], i * (uint64_t)size, buf, size,
                               w->err);
            if (result == 0)
                result = blk_write(w->target, at, buf, size, w->err);
        }
        if (result < 0)
            return -1;
    }
    return 0;
}

/* The plan is ours and still checked: a wrong one would write over a router. */
static int check_plan(const struct writer *w)
{
    const struct fat_geometry *geometry = &w->plan->geometry;
    uint64_t root_sectors = geometry->root_entries * FAT_ENTRY_SIZE / FAT_SECTOR;
    uint64_t end = geometry->data_sector +
                   (uint64_t)geometry->clusters * geometry->sectors_per_cluster;

    if (geometry->reserved_sectors + FAT_COPIES * (uint64_t)geometry->fat_sectors + root_sectors !=
            geometry->data_sector ||
        end > geometry->total_sectors ||
        (uint64_t)geometry->total_sectors * FAT_SECTOR > w->target->size ||
        w->plan->item_count != w->tree->count)
        return err_set(w->err, CHR_E_INTERNAL, "the FAT plan contradicts itself");
    for (size_t i = 1; i < w->plan->item_count; i++)
        for (uint32_t k = 0; k < w->plan->items[i].cluster_count; k++)
            if (w->plan->items[i].chain[k] < FAT_FIRST_CLUSTER ||
                w->plan->items[i].chain[k] >= geometry->clusters + FAT_FIRST_CLUSTER)
                return err_set(w->err, CHR_E_INTERNAL, "the FAT plan has cluster %u",
                               w->plan->items[i].chain[k]);
    return 0;
}

int fat_write(struct blk *source, const struct file_tree *tree, const struct fat_plan *plan,
              const struct fat_write_options *options, struct blk *target, struct chr_error *err)
{
    const struct writer w = {source, target, tree, plan, options, err};

    if (check_plan(&w) < 0 || write_reserved(&w) < 0 || write_tables(&w) < 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++) {
        if (!fat_plan_includes(tree, i))
            continue;
        if ((tree->nodes[i].kind == FILE_FOLDER ? write_folder(&w, i) : write_file(&w, i)) < 0)
            return -1;
    }
    return 0;
}
