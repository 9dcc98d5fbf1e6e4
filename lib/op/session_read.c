/* Reading files of a session. */
#include <stdio.h>
#include <string.h>

#include "fs/ext.h"
#include "fs/fat.h"
#include "fs/fat_path.h"
#include "op/session.h"

int side_read_all(struct side *side, struct file_tree *tree, struct chr_error *err)
{
    AUTO_EXT struct ext *ext = NULL;
    struct fat_info info;

    if (side->contents == CHR_CONTENTS_FAT)
        return fat_read(side->window, &info, tree, err);
    return ext_open(side->window, &ext, err) < 0 ? -1 : ext_read_tree(ext, "", true, tree, err);
}

void found_release(struct found *found)
{
    file_tree_release(&found->tree);
    free(found->folder);
    *found = (struct found){0};
}

char *found_path(const struct found *found, const struct file_node *node, struct chr_error *err)
{
    bool both = found->folder[0] != '\0' && node->path[0] != '\0';
    size_t size = strlen(found->folder) + strlen(node->path) + 2;
    char *path = mem_new(1, size, err);

    if (path != NULL)
        (void)snprintf(path, size, "%s%s%s", found->folder, both ? "/" : "", node->path);
    return path;
}

static int missing(const struct side *side, const char *path, struct chr_error *err)
{
    return err_set(err, CHR_E_MISSING, "%s/%s: no such file or folder",
                   side->is_boot ? "boot:" : "", path);
}

/* The index of PATH in TREE; 0 when it is not there. */
static size_t index_of(const struct file_tree *tree, const char *path)
{
    for (size_t i = 1; i < tree->count; i++)
        if (strcmp(tree->nodes[i].path, path) == 0)
            return i;
    return 0;
}

/* All but the names and the place in the tree. */
static void move_contents(struct file_node *from, struct file_node *to)
{
    struct file_node moved = *from;

    moved.name = to->name;
    moved.path = to->path;
    moved.parent = to->parent;
    *to = moved;
    from->runs = NULL;
    from->run_count = 0;
    from->run_capacity = 0;
}

/* Make TREE what is below its node INDEX, which becomes the root. */
static int keep_below(struct file_tree *tree, size_t index, struct chr_error *err)
{
    AUTO_TREE struct file_tree below = {0};
    /* Where each node went; 0: nowhere. */
    AUTO_FREE size_t *moved = mem_new(tree->count, sizeof *moved, err);

    if (moved == NULL)
        return -1;
    for (size_t i = index; i < tree->count; i++) {
        struct file_node *old = &tree->nodes[i];
        struct file_node *node;
        size_t parent = old->parent == index ? 0 : moved[old->parent];

        if (i != index && old->parent != index && parent == 0)
            continue;
        node = file_tree_add(&below, parent, i == index ? "" : old->name, err);
        if (node == NULL)
            return -1;
        moved[i] = below.count - 1;
        move_contents(old, node);
    }
    file_tree_release(tree);
    *tree = below;
    below = (struct file_tree){0};
    return 0;
}

/* FAT is read as a whole: it is small, and checked as a whole. */
static int find_on_fat(struct side *side, const char *path, struct found *found,
                       struct chr_error *err)
{
    char own_path[FILE_PATH_MAX];
    size_t index;

    if (side_read_all(side, &found->tree, err) < 0 ||
        fat_path_read(side->window, path, own_path, err) < 0)
        return -1;
    index = index_of(&found->tree, own_path);
    if (index == 0 && path[0] != '\0')
        return missing(side, path, err);
    if (found->tree.nodes[index].kind == FILE_FOLDER) {
        found->folder = mem_strdup(path, err);
        return found->folder == NULL ? -1 : keep_below(&found->tree, index, err);
    }
    found->index = index;
    found->folder = mem_strdup("", err);
    return found->folder == NULL ? -1 : 0;
}

/* FOLDER and NAME of PATH, which is not empty; FOUND keeps the folder. */
static const char *split(const char *path, struct found *found, struct chr_error *err)
{
    const char *slash = strrchr(path, '/');

    found->folder = mem_strdup(path, err);
    if (found->folder == NULL)
        return NULL;
    found->folder[slash != NULL ? slash - path : 0] = '\0';
    return slash != NULL ? slash + 1 : path;
}

static int read_ext_folder(struct ext *ext, const char *path, bool recursive, struct found *found,
                           struct chr_error *err)
{
    found_release(found);
    found->folder = mem_strdup(path, err);
    return found->folder == NULL ? -1 : ext_read_tree(ext, path, recursive, &found->tree, err);
}

static int find_on_ext(struct side *side, const char *path, bool recursive, struct found *found,
                       struct chr_error *err)
{
    AUTO_EXT struct ext *ext = NULL;
    const char *name;

    if (ext_open(side->window, &ext, err) < 0)
        return -1;
    if (path[0] == '\0')
        return read_ext_folder(ext, path, recursive, found, err);
    name = split(path, found, err);
    if (name == NULL)
        return -1;
    if (ext_read_tree(ext, found->folder, false, &found->tree, err) < 0)
        return err->code == CHR_E_MISSING ? missing(side, path, err) : -1;
    found->index = index_of(&found->tree, name);
    if (found->index == 0)
        return missing(side, path, err);
    return found->tree.nodes[found->index].kind == FILE_FOLDER
               ? read_ext_folder(ext, path, recursive, found, err)
               : 0;
}

int side_find(struct side *side, const char *path, bool recursive, struct found *out,
              struct chr_error *err)
{
    AUTO_FOUND struct found found = {0};

    if ((side->contents == CHR_CONTENTS_FAT ? find_on_fat(side, path, &found, err)
                                            : find_on_ext(side, path, recursive, &found, err)) < 0)
        return side_way_out(side, err);
    *out = found;
    found = (struct found){0};
    return 0;
}
