/* The check between making a FAT and publishing it. */
#include "op/verify.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/fat_layout.h"

#define CHUNK 65536
/* FAT begins in 1980; older times are moved up. */
#define FAT_EPOCH 315532800

static const struct file_node *find_exact(const struct file_tree *tree, const char *path)
{
    for (size_t i = 1; i < tree->count; i++)
        if (strcmp(tree->nodes[i].path, path) == 0)
            return &tree->nodes[i];
    return NULL;
}

static int compare_attributes(const struct file_node *old_node, const struct file_node *new_node,
                              struct chr_error *err)
{
    int64_t modified = old_node->modified < FAT_EPOCH ? FAT_EPOCH : old_node->modified;

    if (new_node->kind != old_node->kind)
        return err_set(err, CHR_E_INTERNAL, "it became another kind of file");
    if (old_node->kind == FILE_REGULAR && new_node->size != old_node->size)
        return err_set(err, CHR_E_INTERNAL, "it has %" PRIu64 " bytes instead of %" PRIu64,
                       new_node->size, old_node->size);
    if (new_node->modified != modified - modified % 2)
        return err_set(err, CHR_E_INTERNAL, "its time changed");
    return 0;
}

static int compare_bytes(struct blk *old_device, const struct file_node *old_node,
                         struct blk *new_device, const struct file_node *new_node,
                         struct chr_error *err)
{
    uint8_t old_bytes[CHUNK];
    uint8_t new_bytes[CHUNK];

    for (uint64_t off = 0; off < old_node->size; off += CHUNK) {
        size_t len = (size_t)min_u64(CHUNK, old_node->size - off);

        if (file_read(old_device, old_node, off, old_bytes, len, err) < 0 ||
            file_read(new_device, new_node, off, new_bytes, len, err) < 0)
            return -1;
        if (memcmp(old_bytes, new_bytes, len) != 0)
            return err_set(err, CHR_E_INTERNAL, "its contents differ near byte %" PRIu64, off);
    }
    return 0;
}

int verify_files(struct blk *old_device, const struct file_tree *old_tree, struct blk *new_device,
                 const struct file_tree *new_tree, struct chr_error *err)
{
    size_t expected = 1;

    for (size_t i = 1; i < old_tree->count; i++) {
        const struct file_node *old_node = &old_tree->nodes[i];
        const struct file_node *new_node = find_exact(new_tree, old_node->path);

        if (!fat_plan_includes(old_tree, i))
            continue;
        expected++;
        if (new_node == NULL)
            return err_set(err, CHR_E_INTERNAL, "verification: %s is missing", old_node->path);
        if (compare_attributes(old_node, new_node, err) < 0 ||
            (old_node->kind == FILE_REGULAR &&
             compare_bytes(old_device, old_node, new_device, new_node, err) < 0))
            return err_context(err, "verification: %s", old_node->path);
    }
    if (new_tree->count != expected)
        return err_set(err, CHR_E_INTERNAL, "verification: %zu files and folders instead of %zu",
                       new_tree->count, expected);
    return 0;
}
