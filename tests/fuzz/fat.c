/* FAT: the reader, on a partition of 4 MiB that begins with the input. */
#include "fs/fat.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory device = memory_device(data, size, 4 << 20);
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info info = {0};
    struct chr_error err = {0};
    static uint8_t buffer[1 << 16];
    bool found = false;

    MUST(fat_probe(&device.blk, &found, &err) == 0, "%s", err.message);
    if (fat_read(&device.blk, &info, &tree, &err) < 0) {
        must_be_told(&err);
        return 0;
    }
    MUST(found, "what can be read was not found");
    MUST(info.free_clusters <= info.clusters, "more is free than there is");
    for (size_t i = 0; i < tree.count; i++) {
        const struct file_node *node = &tree.nodes[i];

        MUST(node->parent < tree.count, "%s has no parent", node->path);
        if (node->kind != FILE_REGULAR)
            continue;
        for (uint64_t off = 0; off < node->size; off += sizeof buffer)
            MUST(file_read(&device.blk, node, off, buffer,
                           (size_t)min_u64(sizeof buffer, node->size - off), &err) == 0,
                 "%s", err.message);
    }
    return 0;
}
