/*
 * ext: the reader, on a partition of 4 MiB that begins with the input; and what can
 * be read is made a FAT, which must hold the very same files.
 */
#include "block/overlay.h"
#include "fs/ext.h"
#include "fs/fat.h"
#include "fs/fat_layout.h"
#include "fs/fat_write.h"
#include "fuzz.h"

#define PARTITION_SIZE (4u << 20)

static const struct file_node *named(const struct file_tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count; i++)
        if (strcmp(tree->nodes[i].path, path) == 0)
            return &tree->nodes[i];
    return NULL;
}

static void compare_file(struct blk *old_device, const struct file_node *old_node,
                         struct blk *new_device, const struct file_node *new_node)
{
    static uint8_t old_bytes[1 << 16];
    static uint8_t new_bytes[1 << 16];
    struct chr_error err = {0};

    MUST(new_node->size == old_node->size, "%s has another size", old_node->path);
    for (uint64_t off = 0; off < old_node->size; off += sizeof old_bytes) {
        size_t len = (size_t)min_u64(sizeof old_bytes, old_node->size - off);

        MUST(file_read(old_device, old_node, off, old_bytes, len, &err) == 0, "%s", err.message);
        MUST(file_read(new_device, new_node, off, new_bytes, len, &err) == 0, "%s", err.message);
        MUST(memcmp(old_bytes, new_bytes, len) == 0, "%s has other bytes near %llu",
             old_node->path, (unsigned long long)off);
    }
}

static void make_fat(struct blk *device, uint32_t block_size, const struct file_tree *tree,
                     enum fat_layout layout)
{
    const struct fat_write_options options = {.label = "RouterOS Boot", .serial = 1};
    AUTO_FAT_PLAN struct fat_plan plan = {0};
    AUTO_TREE struct file_tree made = {0};
    AUTO_BLK struct blk *overlay = NULL;
    struct fat_info info = {0};
    struct chr_error err = {0};

    if (fat_plan_make(PARTITION_SIZE, block_size, tree, layout, &plan, &err) < 0) {
        must_be_told(&err);
        return;
    }
    MUST(overlay_open(device, &overlay, &err) == 0, "%s", err.message);
    MUST(fat_write(device, tree, &plan, &options, overlay, &err) == 0, "%s", err.message);
    MUST(fat_read(overlay, &info, &made, &err) == 0, "%s", err.message);
    for (size_t i = 1; i < tree->count; i++) {
        const struct file_node *old_node = &tree->nodes[i];
        const struct file_node *new_node = named(&made, old_node->path);

        if (!fat_plan_includes(tree, i))
            continue;
        MUST(new_node != NULL, "%s is lost", old_node->path);
        MUST(new_node->kind == old_node->kind, "%s is of another kind", old_node->path);
        if (old_node->kind == FILE_REGULAR)
            compare_file(device, old_node, overlay, new_node);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory device = memory_device(data, size, PARTITION_SIZE);
    AUTO_EXT struct ext *ext = NULL;
    AUTO_TREE struct file_tree tree = {0};
    struct chr_error err = {0};
    uint32_t block_size;
    bool found = false;

    MUST(ext_probe(&device.blk, &found, &err) == 0, "%s", err.message);
    if (ext_open(&device.blk, &ext, &err) < 0 ||
        ext_read_tree(ext, "", true, &tree, &err) < 0) {
        must_be_told(&err);
        return 0;
    }
    MUST(found, "what can be read was not found");
    block_size = ext_get_super(ext)->block_size;
    make_fat(&device.blk, block_size, &tree, FAT_LAYOUT_KEEP);
    make_fat(&device.blk, block_size, &tree, FAT_LAYOUT_COMPACT);
    return 0;
}
