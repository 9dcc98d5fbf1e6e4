/* chr_diff(): which files differ between two states of a router. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "fs/journal.h"
#include "op/analysis.h"
#include "op/image.h"

#define CHUNK 65536

/* One file system of one side. */
struct side {
    struct blk *window; /* borrowed from the analysis, or `replayed` */
    struct blk *own;
    struct blk *replayed; /* on OWN, with what the journal held; in memory */
    struct file_tree tree;
};

static void side_release(struct side *side)
{
    file_tree_release(&side->tree);
    blk_cleanup(&side->replayed);
    blk_cleanup(&side->own);
}

struct differ {
    struct chr_diff diff;
    size_t capacity;
    bool on_boot;
    struct chr_error *err;
};

void chr_diff_free(struct chr_diff *diff)
{
    if (diff == NULL)
        return;
    for (size_t i = 0; i < diff->count; i++)
        free(diff->items[i].path);
    free(diff->items);
    free(diff);
}

static int add(struct differ *d, enum chr_difference kind, const struct file_node *old_node,
               const struct file_node *new_node)
{
    const struct file_node *node = old_node != NULL ? old_node : new_node;
    size_t size = strlen(node->path) + 2;
    struct chr_file_difference *item;
    char *path;

    if (mem_grow(&d->diff.items, &d->capacity, d->diff.count, sizeof *d->diff.items, d->err) < 0)
        return -1;
    path = mem_new(1, size, d->err);
    if (path == NULL)
        return -1;
    (void)snprintf(path, size, "%s%s", node->path, node->kind == FILE_FOLDER ? "/" : "");
    item = &d->diff.items[d->diff.count++];
    *item = (struct chr_file_difference){
        .kind = kind,
        .on_boot = d->on_boot,
        .path = path,
        .old_size = old_node != NULL && old_node->kind == FILE_REGULAR ? old_node->size : 0,
        .new_size = new_node != NULL && new_node->kind == FILE_REGULAR ? new_node->size : 0,
    };
    return 0;
}

static int same_bytes(const struct side *from, const struct file_node *old_node,
                      const struct side *to, const struct file_node *new_node, bool *same,
                      struct chr_error *err)
{
    uint8_t a[CHUNK];
    uint8_t b[CHUNK];

    *same = true;
    for (uint64_t off = 0; off < old_node->size && *same; off += CHUNK) {
        size_t len;

        /* Where both have a hole there is nothing to compare. */
        off = min_u64(file_next_data(old_node, off), file_next_data(new_node, off));
        len = (size_t)min_u64(CHUNK, old_node->size - off);
        if (file_read(from->window, old_node, off, a, len, err) < 0 ||
            file_read(to->window, new_node, off, b, len, err) < 0)
            return -1;
        *same = memcmp(a, b, len) == 0;
    }
    return 0;
}

static int compare_nodes(struct differ *d, const struct side *from,
                         const struct file_node *old_node, const struct side *to,
                         const struct file_node *new_node)
{
    bool same = old_node->kind == new_node->kind && old_node->mode == new_node->mode;

    if (same && old_node->kind == FILE_REGULAR) {
        same = old_node->size == new_node->size;
        if (same && same_bytes(from, old_node, to, new_node, &same, d->err) < 0)
            return -1;
    }
    return same ? 0 : add(d, CHR_CHANGED, old_node, new_node);
}

/* Both are sorted by path, so that two trees are merged in one pass. */
static int merge(struct differ *d, const struct side *from, const struct file_node **old_nodes,
                 const struct side *to, const struct file_node **new_nodes)
{
    size_t i = 0;
    size_t k = 0;
    size_t old_count = from->tree.count > 0 ? from->tree.count - 1 : 0;
    size_t new_count = to->tree.count > 0 ? to->tree.count - 1 : 0;
    int result = 0;

    while (result == 0 && (i < old_count || k < new_count)) {
        int order = i == old_count ? 1
                    : k == new_count ? -1
                                     : strcmp(old_nodes[i]->path, new_nodes[k]->path);

        if (order < 0)
            result = add(d, CHR_REMOVED, old_nodes[i++], NULL);
        else if (order > 0)
            result = add(d, CHR_ADDED, NULL, new_nodes[k++]);
        else
            result = compare_nodes(d, from, old_nodes[i++], to, new_nodes[k++]);
    }
    return result;
}

static int compare_sides(struct differ *d, const struct side *from, const struct side *to)
{
    AUTO_FREE const struct file_node **old_nodes = file_tree_sorted(&from->tree, d->err);
    AUTO_FREE const struct file_node **new_nodes =
        old_nodes != NULL ? file_tree_sorted(&to->tree, d->err) : NULL;

    return new_nodes == NULL ? -1 : merge(d, from, old_nodes, to, new_nodes);
}

/* A state that was kept of a running router has changes that are only in its journal. */
static int read_ext(struct side *side, struct chr_error *err)
{
    AUTO_EXT struct ext *ext = NULL;
    struct journal_report ignored;

    if (overlay_open(side->own, &side->replayed, err) < 0 ||
        journal_recover(side->replayed, &ignored, err) < 0)
        return -1;
    side->window = side->replayed;
    return ext_open(side->window, &ext, err) < 0
               ? -1
               : ext_read_tree(ext, "", true, &side->tree, err);
}

/* The root: the first ext partition behind the boot partition; none is an empty side. */
static int read_root(struct chr_image *image, const struct analysis *a, struct side *side,
                     struct chr_error *err)
{
    for (size_t i = 0; i < a->table->partition_count; i++) {
        const struct partition *p = &a->table->partitions[i];
        bool is_ext = false;

        if (p == a->boot)
            continue;
        blk_cleanup(&side->own);
        side->own = NULL;
        if (partition_window(image->disk, p, &side->own, err) < 0 ||
            ext_probe(side->own, &is_ext, err) < 0)
            return -1;
        if (is_ext)
            return read_ext(side, err);
    }
    return 0;
}

static int diff_roots(struct differ *d, struct chr_image *from, const struct analysis *a,
                      struct chr_image *to, const struct analysis *b)
{
    struct side old_side = {0};
    struct side new_side = {0};
    int result = -1;

    d->on_boot = false;
    if (read_root(from, a, &old_side, d->err) == 0 && read_root(to, b, &new_side, d->err) == 0)
        result = compare_sides(d, &old_side, &new_side);
    side_release(&old_side);
    side_release(&new_side);
    return result;
}

static int check_readable(const struct analysis *a, const struct chr_image *image,
                          struct chr_error *err)
{
    if (a->readable)
        return 0;
    *err = a->problem;
    return err_context(err, "%s: boot partition", image->path);
}

int chr_diff(struct chr_image *from, struct chr_image *to, struct chr_diff **out,
             struct chr_error *err)
{
    AUTO_ANALYSIS struct analysis *a = NULL;
    AUTO_ANALYSIS struct analysis *b = NULL;
    struct differ d = {.err = err, .on_boot = true};
    struct chr_diff *diff;

    if (analyse(from->disk, &a, err) < 0)
        return err_context(err, "%s", from->path);
    if (analyse(to->disk, &b, err) < 0)
        return err_context(err, "%s", to->path);
    if (check_readable(a, from, err) < 0 || check_readable(b, to, err) < 0)
        return -1;
    diff = mem_new(1, sizeof *diff, err);
    if (diff == NULL)
        return -1;
    if (compare_sides(&d, &(struct side){.window = a->window, .tree = a->tree},
                      &(struct side){.window = b->window, .tree = b->tree}) < 0 ||
        diff_roots(&d, from, a, to, b) < 0) {
        *diff = d.diff;
        chr_diff_free(diff);
        return -1;
    }
    *diff = d.diff;
    *out = diff;
    return 0;
}
