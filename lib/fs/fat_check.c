/* What a FAT must be before it is changed. */
#include "fs/fat_check.h"

#include "base/bytes.h"
#include "fs/fat_decode.h"
#include "fs/fat_volume.h"

/* The cluster that a file or folder begins at. */
static uint32_t first_cluster(const struct fat_info *info, const struct file_node *node)
{
    return node->run_count == 0
               ? 0
               : (uint32_t)((node->runs[0].off - info->data_start) / info->cluster_size) + 2;
}

static bool dot_is(const uint8_t *entry, const char *name, uint32_t cluster,
                   const struct fat_info *info)
{
    return memcmp(entry, name, 11) == 0 && (entry[11] & FAT_ATTRIBUTE_FOLDER) != 0 &&
           fat_decode_cluster(entry, info->bits) == cluster;
}

static int check_folder(struct blk *device, const struct fat_info *info,
                        const struct file_tree *tree, size_t index, struct chr_error *err)
{
    const struct file_node *node = &tree->nodes[index];
    const struct file_node *parent = &tree->nodes[node->parent];
    uint32_t above = first_cluster(info, parent);
    uint8_t dots[2 * FAT_ENTRY_SIZE];

    if (node->size > (uint64_t)FAT_FOLDER_MAX_ENTRIES * FAT_ENTRY_SIZE)
        return err_set(err, CHR_E_DAMAGED, "folder /%s is larger than the %d entries of FAT",
                       node->path, FAT_FOLDER_MAX_ENTRIES);
    if (index == 0)
        return 0;
    if (blk_read(device, node->runs[0].off, dots, sizeof dots, err) < 0)
        return -1;
    if (!dot_is(dots, ".          ", first_cluster(info, node), info))
        return err_set(err, CHR_E_DAMAGED, "folder %s does not name itself in its \".\"",
                       node->path);
    /* Of a folder in the root it is 0; some write the root's cluster on FAT32. */
    if (!(node->parent == 0 && dot_is(dots + FAT_ENTRY_SIZE, "..         ", 0, info)) &&
        !dot_is(dots + FAT_ENTRY_SIZE, "..         ", above, info))
        return err_set(err, CHR_E_DAMAGED, "folder %s does not name its parent in its \"..\"",
                       node->path);
    return 0;
}

int fat_check_editable(struct blk *device, struct chr_error *err)
{
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info info;

    if (fat_read(device, &info, &tree, err) < 0)
        return -1;
    for (size_t i = 0; i < tree.count; i++)
        if (tree.nodes[i].kind == FILE_FOLDER && check_folder(device, &info, &tree, i, err) < 0)
            return -1;
    return 0;
}
