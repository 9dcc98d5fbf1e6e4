/* Two trees, merged by path, and the sectors between them. */
#include "op/untouched.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "block/overlay.h"

int touched_add(struct touched *touched, const char *path, struct chr_error *err)
{
    char *copy;

    if (mem_grow(&touched->paths, &touched->capacity, touched->count, sizeof *touched->paths,
                 err) < 0)
        return -1;
    copy = mem_strdup(path, err);
    if (copy == NULL)
        return -1;
    touched->paths[touched->count++] = copy;
    return 0;
}

bool touched_has(const struct touched *touched, const char *path)
{
    for (size_t i = touched->count; i > 0; i--)
        if (strcmp(touched->paths[i - 1], path) == 0)
            return true;
    return false;
}

void touched_release(struct touched *touched)
{
    for (size_t i = 0; i < touched->count; i++)
        free(touched->paths[i]);
    free(touched->paths);
    *touched = (struct touched){0};
}

/* ---- what may change ---- */

struct comparison {
    const char **touched; /* sorted */
    size_t touched_count;
    struct file_run *kept; /* where untouched files lie, by place */
    size_t kept_count;
    size_t kept_capacity;
    struct chr_error *err;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int sort_touched(struct comparison *c, const struct touched *touched)
{
    c->touched = mem_new(touched->count, sizeof *c->touched, c->err);
    if (c->touched == NULL)
        return -1;
    for (; c->touched_count < touched->count; c->touched_count++)
        c->touched[c->touched_count] = touched->paths[c->touched_count];
    if (c->touched_count > 1)
        qsort(c->touched, c->touched_count, sizeof *c->touched, by_name);
    return 0;
}

/* The first touched path that is not before the LENGTH bytes at BEGIN, or NULL. */
static const char *first_touched(const struct comparison *c, const char *begin, size_t length)
{
    size_t low = 0;
    size_t high = c->touched_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strncmp(c->touched[middle], begin, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->touched_count ? c->touched[low] : NULL;
}

/* Whether PATH, or a folder that it is in, is a touched path. */
static bool is_touched(const struct comparison *c, const char *path)
{
    for (size_t length = strcspn(path, "/");; length += 1 + strcspn(path + length + 1, "/")) {
        const char *first = first_touched(c, path, length);

        if (first != NULL && strncmp(first, path, length) == 0 && first[length] == '\0')
            return true;
        if (path[length] == '\0')
            return false;
    }
}

/* Whether entries of the folder PATH changed; its own inode does, then. */
static bool holds_touched(const struct comparison *c, const char *path)
{
    char begin[FILE_PATH_MAX + 1];
    size_t length = strlen(path);
    const char *first;

    if (length == 0)
        return c->touched_count > 0;
    memcpy(begin, path, length);
    begin[length++] = '/';
    first = first_touched(c, begin, length);
    return first != NULL && strncmp(first, begin, length) == 0;
}

/* ---- files ---- */

static bool same_runs(const struct file_node *a, const struct file_node *b)
{
    if (a->run_count != b->run_count)
        return false;
    for (size_t i = 0; i < a->run_count; i++)
        if (a->runs[i].file_off != b->runs[i].file_off || a->runs[i].off != b->runs[i].off ||
            a->runs[i].length != b->runs[i].length || a->runs[i].unwritten != b->runs[i].unwritten)
            return false;
    return true;
}

static int keep_places(struct comparison *c, const struct file_node *node)
{
    for (size_t i = 0; i < node->run_count; i++) {
        if (mem_grow(&c->kept, &c->kept_capacity, c->kept_count, sizeof *c->kept, c->err) < 0)
            return -1;
        c->kept[c->kept_count++] = node->runs[i];
    }
    return 0;
}

static int compare_node(struct comparison *c, const struct file_node *a, const struct file_node *b)
{
    if (a->kind != b->kind || a->mode != b->mode || a->uid != b->uid || a->gid != b->gid ||
        a->inode != b->inode)
        return err_set(c->err, CHR_E_INTERNAL, "verification: /%s became another", a->path);
    if (a->kind == FILE_FOLDER && holds_touched(c, a->path))
        return 0;
    if (a->size != b->size || a->modified != b->modified || !same_runs(a, b))
        return err_set(c->err, CHR_E_INTERNAL, "verification: /%s changed, and should not have",
                       a->path);
    return keep_places(c, a);
}

static int merge(struct comparison *c, const struct file_node **before, size_t before_count,
                 const struct file_node **after, size_t after_count)
{
    size_t i = 0;
    size_t k = 0;

    while (i < before_count || k < after_count) {
        int order = i == before_count  ? 1
                    : k == after_count ? -1
                                       : strcmp(before[i]->path, after[k]->path);
        const struct file_node *node = order <= 0 ? before[i] : after[k];
        bool may = is_touched(c, node->path);

        if (!may && order != 0)
            return err_set(c->err, CHR_E_INTERNAL, "verification: /%s %s, and should not have",
                           node->path, order < 0 ? "is gone" : "came up");
        if (!may && compare_node(c, before[i], after[k]) < 0)
            return -1;
        i += order <= 0;
        k += order >= 0;
    }
    return 0;
}

static int compare_trees(struct comparison *c, const struct file_tree *before,
                         const struct file_tree *after)
{
    AUTO_FREE const struct file_node **old_nodes = file_tree_sorted(before, c->err);
    AUTO_FREE const struct file_node **new_nodes =
        old_nodes != NULL ? file_tree_sorted(after, c->err) : NULL;

    if (new_nodes == NULL)
        return -1;
    return merge(c, old_nodes, before->count - 1, new_nodes, after->count - 1);
}

/* ---- sectors ---- */

static int by_place(const void *a, const void *b)
{
    const struct file_run *x = a;
    const struct file_run *y = b;

    return x->off < y->off ? -1 : x->off > y->off;
}

/* The first kept run that ends behind OFF, or NULL.  Runs overlap only when they are equal:
 * those of hard links. */
static const struct file_run *kept_at(const struct comparison *c, uint64_t off)
{
    size_t low = 0;
    size_t high = c->kept_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c->kept[middle].off + c->kept[middle].length <= off)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->kept_count ? &c->kept[low] : NULL;
}

static int check_sectors(struct comparison *c, struct blk *overlay, uint64_t start)
{
    struct overlay_run run;

    if (c->kept_count > 1)
        qsort(c->kept, c->kept_count, sizeof *c->kept, by_place);
    for (uint64_t at = start; overlay_next(overlay, at, &run); at = run.off + run.length) {
        const struct file_run *kept = kept_at(c, run.off - start);

        if (kept != NULL && kept->off < run.off - start + run.length)
            return err_set(c->err, CHR_E_INTERNAL,
                           "verification: offset %" PRIu64 " was written, where an untouched file "
                           "lies", run.off);
    }
    return 0;
}

int check_untouched(const struct file_tree *before, const struct file_tree *after,
                    const struct touched *touched, struct blk *overlay,
                    uint64_t start, struct chr_error *err)
{
    struct comparison c = {.err = err};
    int result = sort_touched(&c, touched) < 0 || compare_trees(&c, before, after) < 0
                     ? -1
                     : check_sectors(&c, overlay, start);

    free(c.touched);
    free(c.kept);
    return result;
}
