/*
 * The FAT reader: from the boot sector and the table (fat_volume.h) through every
 * folder and every chain.  The byte table of folder entries is in fat_entry.h.
 */
#include "fs/fat.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/fat_decode.h"
#include "fs/fat_volume.h"

struct reader {
    struct fat_volume volume;
    uint8_t *claimed; /* one byte a cluster: a chain goes through it */
    struct file_tree tree;
};

/* ---- the boot sector ---- */

int fat_probe(struct blk *device, bool *found, struct chr_error *err)
{
    uint8_t sector[512];

    *found = false;
    if (device->size < sizeof sector)
        return 0;
    if (blk_read(device, 0, sector, sizeof sector, err) < 0)
        return -1;
    *found = fat_volume_plausible(sector);
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

/* ---- the table ---- */

/* Follow the chain from CLUSTER into the node's runs; *COUNT is its length. */
static int follow_chain(struct reader *r, uint32_t cluster, struct file_node *node,
                        uint64_t *count, struct chr_error *err)
{
    uint64_t size = r->volume.info.cluster_size;

    for (*count = 0;; ++*count) {
        if (!fat_volume_has(&r->volume, cluster))
            return err_set(err, CHR_E_DAMAGED, "FAT entry leads to cluster %" PRIu32
                           ", which is outside", cluster);
        if (r->claimed[cluster] != 0)
            return err_set(err, CHR_E_DAMAGED, "cluster %" PRIu32 " is used twice", cluster);
        r->claimed[cluster] = 1;
        if (file_node_add_run(node,
                              (struct file_run){
                                  .file_off = *count * size,
                                  .off = fat_volume_offset(&r->volume, cluster),
                                  .length = size},
                              err) < 0)
            return -1;
        cluster = fat_volume_entry(&r->volume, cluster);
        if (fat_volume_is_end(&r->volume, cluster)) {
            ++*count;
            return 0;
        }
    }
}

/* ---- folder entries ---- */

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
    const struct fat_info *info = &r->volume.info;
    uint32_t cluster = fat_decode_cluster(p, info->bits);
    struct file_node *node;
    uint64_t count = 0;

    if (check_name(name, err) < 0)
        return -1;
    node = file_tree_add(&r->tree, folder, name, err);
    if (node == NULL)
        return -1;
    node->kind = (p[11] & FAT_ATTRIBUTE_FOLDER) != 0 ? FILE_FOLDER : FILE_REGULAR;
    node->mode = fat_decode_mode(p);
    node->modified = fat_decode_time(le16(p + 24), le16(p + 22));
    node->created = fat_decode_time(le16(p + 16), le16(p + 14)) + p[13] / 100;
    node->accessed = fat_decode_time(le16(p + 18), 0);
    if (cluster != 0 && follow_chain(r, cluster, node, &count, err) < 0)
        return err_context(err, "%s", node->path);
    node->size = node->kind == FILE_FOLDER ? count * info->cluster_size : le32(p + 28);
    if (node->kind == FILE_REGULAR && count != (node->size + info->cluster_size - 1) /
                                                   info->cluster_size)
        return err_set(err, CHR_E_DAMAGED, "%s has %" PRIu64 " bytes, but %" PRIu64 " clusters",
                       node->path, node->size, count);
    if (node->kind == FILE_FOLDER && count == 0)
        return err_set(err, CHR_E_DAMAGED, "folder %s has no cluster", node->path);
    return 0;
}

/* Take the entries in the LEN bytes at P; *END says that the end mark was met. */
static int parse_entries(struct reader *r, size_t folder, const uint8_t *p, size_t len,
                         struct fat_long_name *name, bool *end, struct chr_error *err)
{
    char text[FAT_NAME_TEXT_SIZE];

    for (size_t at = 0; at + FAT_ENTRY_SIZE <= len && !*end; at += FAT_ENTRY_SIZE) {
        const uint8_t *entry = p + at;
        enum fat_entry_kind kind = fat_decode_kind(entry);

        *end = kind == FAT_ENTRY_IS_END;
        if (kind == FAT_ENTRY_IS_LONG) {
            fat_long_name_take(name, entry);
            continue;
        }
        if (kind == FAT_ENTRY_IS_LABEL && folder == 0)
            fat_decode_label(entry, r->volume.info.label);
        if (kind == FAT_ENTRY_IS_FILE) {
            fat_decode_name(name, entry, text);
            if (add_entry(r, folder, entry, text, err) < 0)
                return -1;
        }
        name->any = false;
    }
    return 0;
}

static int read_folder(struct reader *r, size_t folder, struct chr_error *err)
{
    const struct fat_volume *volume = &r->volume;
    bool fixed_root = folder == 0 && volume->info.bits != 32;
    size_t step = fixed_root ? FAT_ENTRY_SIZE : volume->info.cluster_size;
    uint64_t size = fixed_root ? (uint64_t)volume->root_entries * FAT_ENTRY_SIZE
                               : r->tree.nodes[folder].size;
    AUTO_FREE uint8_t *buf = mem_new(1, step, err);
    struct fat_long_name name = {0};
    bool end = false;

    if (buf == NULL)
        return -1;
    for (uint64_t off = 0; off < size && !end; off += step) {
        int result = fixed_root
                         ? blk_read(volume->device, volume->root_offset + off, buf, step, err)
                         : file_read(volume->device, &r->tree.nodes[folder], off, buf, step, err);

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
    if (r->volume.info.bits == 32 &&
        follow_chain(r, r->volume.root_cluster, root, &count, err) < 0)
        return err_context(err, "root folder");
    root->size = count * r->volume.info.cluster_size;
    for (size_t i = 0; i < r->tree.count; i++)
        if (r->tree.nodes[i].kind == FILE_FOLDER && read_folder(r, i, err) < 0)
            return -1;
    return 0;
}

int fat_read(struct blk *device, struct fat_info *info, struct file_tree *tree,
             struct chr_error *err)
{
    struct reader r = {0};
    int result = -1;

    if (fat_volume_open(device, &r.volume, err) < 0)
        return -1;
    r.claimed = mem_new(r.volume.info.clusters + 2, 1, err);
    if (r.claimed != NULL && read_all(&r, err) == 0) {
        *info = r.volume.info;
        *tree = r.tree;
        r.tree = (struct file_tree){0};
        result = 0;
    }
    fat_volume_release(&r.volume);
    free(r.claimed);
    file_tree_release(&r.tree);
    return result;
}
