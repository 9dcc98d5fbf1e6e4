/* Changing files of a session: one door to both editors. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "op/session.h"

/* A file's mode where there is none to go by. */
#define DEFAULT_FILE_MODE 0644

static int begin_edit(struct side *side, struct chr_error *err)
{
    if (side->ext != NULL || side->fat != NULL)
        return 0;
    file_tree_release(&side->before);
    if (side_read_all(side, &side->before, err) < 0)
        return side_way_out(side, err);
    for (size_t i = 0; i < side->before.count; i++)
        if (side->before.nodes[i].modified > side->newest)
            side->newest = side->before.nodes[i].modified;
    if (side->contents == CHR_CONTENTS_FAT)
        return fat_edit_open(side->window, &side->fat, err);
    return ext_edit_open(side->window, &side->ext, err) < 0 ? side_way_out(side, err) : 0;
}

static int stat_path(struct side *side, const char *path, struct edit_entry *out,
                     struct chr_error *err)
{
    return side->fat != NULL ? fat_edit_stat(side->fat, path, out, err)
                             : ext_edit_stat(side->ext, path, out, err);
}

int side_stat(struct session *s, struct side *side, const char *path, struct edit_entry *out,
              struct chr_error *err)
{
    (void)s;
    return begin_edit(side, err) < 0 ? -1 : stat_path(side, path, out, err);
}

/* PATH as its files are called: FAT knows them by other names, too. */
static int own_path(const struct side *side, const char *path, char out[FILE_PATH_MAX],
                    struct chr_error *err)
{
    if (side->fat != NULL)
        return fat_edit_own_path(side->fat, path, out, err);
    if (strlen(path) >= FILE_PATH_MAX)
        return err_set(err, CHR_E_USAGE, "a path of more than %d bytes", FILE_PATH_MAX - 1);
    (void)strcpy(out, path);
    return 0;
}

static int touch(struct side *side, const char *path, struct chr_error *err)
{
    char own[FILE_PATH_MAX];

    return own_path(side, path, own, err) < 0 ? -1 : touched_add(&side->touched, own, err);
}

int side_has_put(const struct side *side, const char *path, bool *yes, struct chr_error *err)
{
    char own[FILE_PATH_MAX];

    if (own_path(side, path, own, err) < 0)
        return -1;
    *yes = touched_has(&side->touched, own);
    return 0;
}

/* ---- attributes ---- */

static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) : 0;
}

/* Whether FOLDER is the one that PATH is in. */
static bool is_folder_of(const char *folder, const char *path)
{
    size_t length = folder_length(path);

    return strlen(folder) == length && strncmp(folder, path, length) == 0;
}

/* The first by name, so that the order of a folder's entries is no matter. */
static const struct file_node *first_beside(const struct file_tree *tree, const char *path,
                                            enum file_kind kind)
{
    const struct file_node *found = NULL;

    for (size_t i = 1; i < tree->count; i++) {
        const struct file_node *node = &tree->nodes[i];

        if (node->kind == kind && is_folder_of(tree->nodes[node->parent].path, path) &&
            strcmp(node->name, "lost+found") != 0 &&
            (found == NULL || strcmp(node->name, found->name) < 0))
            found = node;
    }
    return found;
}

static int find_example(struct side *side, const char *path, enum file_kind kind,
                        const struct file_node **out, struct chr_error *err)
{
    struct example *last = kind == FILE_FOLDER ? &side->folder_example : &side->file_example;

    if (last->folder == NULL || !is_folder_of(last->folder, path)) {
        free(last->folder);
        last->folder = strndup(path, folder_length(path));
        if (last->folder == NULL)
            return err_set(err, CHR_E_MEMORY, "out of memory for a path");
        last->node = first_beside(&side->before, path, kind);
    }
    *out = last->node;
    return 0;
}

/* Nothing that is new runs with another's rights, or shuts its owner out. */
static uint32_t mode_like(uint32_t mode, enum file_kind kind)
{
    return kind == FILE_FOLDER ? (mode & 0777) | 0700 : (mode & 0666) | 0600;
}

int side_attributes(struct session *s, struct side *side, const char *path, enum file_kind kind,
                    struct edit_attributes *out, struct chr_error *err)
{
    const struct file_node *example = NULL;
    struct edit_entry entry;
    char folder[FILE_PATH_MAX];

    if (begin_edit(side, err) < 0 || find_example(side, path, kind, &example, err) < 0)
        return -1;
    if (stat_path(side, path, &entry, err) == 0 && entry.kind == kind) {
        *out = entry.attributes;
    } else if (example != NULL) {
        *out = (struct edit_attributes){.mode = mode_like(example->mode, kind),
                                        .uid = example->uid, .gid = example->gid};
    } else {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)folder_length(path), path);
        if (stat_path(side, folder, &entry, err) < 0)
            return -1;
        *out = entry.attributes;
        out->mode = mode_like(kind == FILE_FOLDER ? entry.attributes.mode : DEFAULT_FILE_MODE,
                              kind);
    }
    out->modified = s->modified != NULL ? *s->modified : side->newest;
    return 0;
}

/* ---- folders ---- */

static int make_one_folder(struct session *s, struct side *side, const char *path,
                           struct chr_error *err)
{
    struct edit_attributes attributes;
    struct edit_entry entry;

    if (stat_path(side, path, &entry, err) == 0)
        return entry.kind == FILE_FOLDER
                   ? 0
                   : err_set(err, CHR_E_REFUSED, "/%s is there already, and no folder", path);
    if (err->code != CHR_E_MISSING ||
        side_attributes(s, side, path, FILE_FOLDER, &attributes, err) < 0 ||
        touch(side, path, err) < 0)
        return -1;
    return side->fat != NULL ? fat_edit_make_folder(side->fat, path, &attributes, err)
                             : ext_edit_make_folder(side->ext, path, &attributes, err);
}

/* Every folder of the first LENGTH bytes of PATH. */
static int make_folders(struct session *s, struct side *side, const char *path, size_t length,
                        struct chr_error *err)
{
    char part[FILE_PATH_MAX];

    if (strlen(path) >= sizeof part)
        return err_set(err, CHR_E_USAGE, "a path of more than %zu bytes", sizeof part - 1);
    for (size_t end = 0; end < length; end++) {
        end += strcspn(path + end, "/");
        end = end < length ? end : length;
        (void)snprintf(part, sizeof part, "%.*s", (int)end, path);
        if (make_one_folder(s, side, part, err) < 0)
            return -1;
    }
    return 0;
}

int side_make_folder(struct session *s, struct side *side, const char *path, struct chr_error *err)
{
    return begin_edit(side, err) < 0 ? -1 : make_folders(s, side, path, strlen(path), err);
}

/* ---- what must stay on its sectors ---- */

#define MAP_PATH "map"
#define LOADER_FOLDER "EFI/BOOT/"
#define KERNEL_FOLDER "boot/"

/* PATH, or what is below it. */
static bool covers(const char *path, const char *file)
{
    size_t length = strlen(path);

    return strncmp(path, file, length) == 0 && (file[length] == '\0' || file[length] == '/');
}

static bool is_below(const char *file, const char *folder)
{
    return strncasecmp(file, folder, strlen(folder)) == 0;
}

/*
 * The BIOS loader knows no file system: `map` lists the sectors of the kernel, and is itself
 * found by its sector.  On the one partition of a RouterOS 6 the kernel is in boot/, and
 * nobody has said where its list is.
 */
static int check_not_mapped(const struct session *s, const struct side *side, const char *path,
                            struct chr_error *err)
{
    const struct file_tree *tree = &side->before;
    bool has_map = file_tree_find(tree, MAP_PATH) != NULL;
    char own[FILE_PATH_MAX];

    if (side->partition != table_boot_partition(s->table))
        return 0;
    if (own_path(side, path, own, err) < 0)
        return -1;
    for (size_t i = 1; i < tree->count; i++) {
        const char *file = tree->nodes[i].path;
        bool mapped = (has_map && (strcasecmp(file, MAP_PATH) == 0 ||
                                   is_below(file, LOADER_FOLDER))) ||
                      (!side->is_boot && is_below(file, KERNEL_FOLDER));

        if (tree->nodes[i].kind != FILE_REGULAR || !mapped || !covers(own, file))
            continue;
        (void)err_set(err, CHR_E_REFUSED, "%s/%s is found by its sectors when the image boots "
                      "with BIOS, and must stay as it is", side->is_boot ? "boot:" : "", file);
        return err_hint(err, "new files can be put beside it");
    }
    return 0;
}

/* ---- putting and removing ---- */

int side_put(struct session *s, struct side *side, const char *path,
             const struct edit_source *source, const struct edit_attributes *attributes,
             struct chr_error *err)
{
    if (begin_edit(side, err) < 0 || check_not_mapped(s, side, path, err) < 0 ||
        make_folders(s, side, path, folder_length(path), err) < 0 ||
        touch(side, path, err) < 0)
        return -1;
    return side->fat != NULL ? fat_edit_put(side->fat, path, source, attributes, err)
                             : ext_edit_put(side->ext, path, source, attributes, err);
}

int side_remove(struct session *s, struct side *side, const char *path, bool recursive,
                struct chr_error *err)
{
    if (begin_edit(side, err) < 0 || check_not_mapped(s, side, path, err) < 0 ||
        touch(side, path, err) < 0)
        return -1;
    return side->fat != NULL ? fat_edit_remove(side->fat, path, recursive, err)
                             : ext_edit_remove(side->ext, path, recursive, err);
}
