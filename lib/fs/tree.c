/* File trees: made by the readers, used by everything above. */
#include "fs/tree.h"

#include <stdio.h>
#include <strings.h>

#include "base/bytes.h"

static char *join_path(const char *folder, const char *name, struct chr_error *err)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = mem_new(1, size, err);

    if (path != NULL)
        (void)snprintf(path, size, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name);
    return path;
}

static int check_path(const struct file_tree *tree, size_t length, struct chr_error *err)
{
    if (length >= FILE_PATH_MAX)
        return err_set(err, CHR_E_REFUSED, "folders are nested so deep that a path has %zu bytes",
                       length);
    if (tree->path_bytes + length >= FILE_PATHS_MAX)
        return err_set(err, CHR_E_REFUSED, "the paths of its files have more than %u bytes",
                       FILE_PATHS_MAX);
    return 0;
}

struct file_node *file_tree_add(struct file_tree *tree, size_t parent, const char *name,
                                struct chr_error *err)
{
    AUTO_FREE char *own_name = NULL;
    AUTO_FREE char *path = NULL;
    struct file_node *node;

    if (tree->count >= FILE_TREE_MAX) {
        (void)err_set(err, CHR_E_REFUSED, "more than %d files", FILE_TREE_MAX);
        return NULL;
    }
    if (tree->count > 0 &&
        check_path(tree, strlen(tree->nodes[parent].path) + 1 + strlen(name), err) < 0)
        return NULL;
    own_name = mem_strdup(name, err);
    path = join_path(tree->count > 0 ? tree->nodes[parent].path : "", name, err);
    if (own_name == NULL || path == NULL ||
        mem_grow(&tree->nodes, &tree->capacity, tree->count, sizeof *tree->nodes, err) < 0)
        return NULL;
    tree->path_bytes += strlen(path) + 1;
    node = &tree->nodes[tree->count++];
    *node = (struct file_node){.name = STEAL(own_name), .path = STEAL(path), .parent = parent};
    return node;
}

int file_node_add_run(struct file_node *node, struct file_run run, struct chr_error *err)
{
    struct file_run *last = node->run_count > 0 ? &node->runs[node->run_count - 1] : NULL;

    if (last != NULL && last->file_off + last->length == run.file_off &&
        last->off + last->length == run.off && last->unwritten == run.unwritten) {
        last->length += run.length;
        return 0;
    }
    if (mem_grow(&node->runs, &node->run_capacity, node->run_count, sizeof *node->runs, err) < 0)
        return -1;
    node->runs[node->run_count++] = run;
    return 0;
}

const struct file_node *file_tree_find(const struct file_tree *tree, const char *path)
{
    for (size_t i = 1; i < tree->count; i++)
        if (strcasecmp(tree->nodes[i].path, path) == 0)
            return &tree->nodes[i];
    return NULL;
}

static int by_path(const void *a, const void *b)
{
    const struct file_node *const *x = a;
    const struct file_node *const *y = b;

    return strcmp((*x)->path, (*y)->path);
}

const struct file_node **file_tree_sorted(const struct file_tree *tree, struct chr_error *err)
{
    const struct file_node **nodes = mem_new(tree->count + 1, sizeof(struct file_node *), err);

    if (nodes == NULL)
        return NULL;
    for (size_t i = 1; i < tree->count; i++)
        nodes[i - 1] = &tree->nodes[i];
    if (tree->count > 1)
        qsort(nodes, tree->count - 1, sizeof *nodes, by_path);
    return nodes;
}

/* The first run that ends behind OFF, or NULL. */
static const struct file_run *run_at(const struct file_node *node, uint64_t off)
{
    size_t low = 0;
    size_t high = node->run_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (node->runs[middle].file_off + node->runs[middle].length <= off)
            low = middle + 1;
        else
            high = middle;
    }
    return low < node->run_count ? &node->runs[low] : NULL;
}

uint64_t file_next_data(const struct file_node *node, uint64_t off)
{
    const struct file_run *run = run_at(node, off);

    while (run != NULL && run < node->runs + node->run_count && run->unwritten)
        run++;
    if (run == NULL || run == node->runs + node->run_count)
        return node->size;
    return min_u64(max_u64(run->file_off, off), node->size);
}

bool file_tree_is_second_name(const struct file_tree *tree, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (tree->nodes[index].inode != 0 && tree->nodes[i].inode == tree->nodes[index].inode)
            return true;
    return false;
}

/* One step of file_read(): a part of one run, or of one hole. */
static int read_step(struct blk *device, const struct file_node *node, uint64_t off, uint8_t *buf,
                     size_t *len, struct chr_error *err)
{
    const struct file_run *run = run_at(node, off);

    if (run != NULL && run->file_off <= off) {
        *len = (size_t)min_u64(*len, run->file_off + run->length - off);
        if (!run->unwritten)
            return blk_read(device, run->off + (off - run->file_off), buf, *len, err);
    } else if (run != NULL) {
        *len = (size_t)min_u64(*len, run->file_off - off);
    }
    memset(buf, 0, *len);
    return 0;
}

int file_read(struct blk *device, const struct file_node *node, uint64_t off, void *buf, size_t len,
              struct chr_error *err)
{
    uint8_t *p = buf;
    size_t valid = off < node->size ? (size_t)min_u64(len, node->size - off) : 0;

    memset(p + valid, 0, len - valid);
    while (valid > 0) {
        size_t step = valid;

        if (read_step(device, node, off, p, &step, err) < 0)
            return err_context(err, "%s", node->path);
        p += step;
        off += step;
        valid -= step;
    }
    return 0;
}

void file_tree_release(struct file_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        free(tree->nodes[i].name);
        free(tree->nodes[i].path);
        free(tree->nodes[i].runs);
    }
    free(tree->nodes);
    *tree = (struct file_tree){0};
}
