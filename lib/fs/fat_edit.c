/*
 * Files and folders of a FAT, put and removed.
 *
 * Every change is planned before it is made: what cannot be done, for want of room
 * or for its name, is refused with all as it was.  A failure in the middle (of the
 * device, of a source) leaves an edit that cannot be finished.
 */
#include "fs/fat_edit.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/fat_check.h"
#include "fs/fat_encode.h"
#include "fs/fat_file.h"
#include "fs/fat_folder.h"
#include "fs/fat_path.h"

struct fat_edit {
    struct fat_table table;
    bool broken; /* a change failed half-way */
};

/* A path, found: the folder it is in, and what is there. */
struct place {
    struct fat_folder folder;
    uint32_t folder_cluster; /* of the folder; 0 for the root */
    char name[FAT_NAME_TEXT_SIZE];
    bool there;
    struct fat_found found;
};

static void release_place(struct place *place)
{
    fat_folder_release(&place->folder);
}
#define AUTO_PLACE CLEANUP(release_place)

int fat_edit_open(struct blk *device, struct fat_edit **out, struct chr_error *err)
{
    AUTO_FREE struct fat_edit *edit = mem_new(1, sizeof *edit, err);

    if (edit == NULL || fat_check_editable(device, err) < 0 ||
        fat_table_open(device, &edit->table, err) < 0)
        return -1;
    *out = STEAL(edit);
    return 0;
}

/* ---- paths ---- */

static bool is_folder(const uint8_t *entry)
{
    return (entry[11] & FAT_ATTRIBUTE_FOLDER) != 0;
}

static uint32_t entry_cluster(const struct fat_edit *edit, const uint8_t *entry)
{
    return fat_decode_cluster(entry, edit->table.volume.info.bits);
}

/* Cut the next component off *PATH into NAME. */
static int next_component(const char **path, char name[FAT_NAME_TEXT_SIZE], struct chr_error *err)
{
    size_t length = strcspn(*path, "/");

    if (length >= FAT_NAME_TEXT_SIZE)
        return err_set(err, CHR_E_REFUSED, "FAT cannot hold a name of %zu bytes", length);
    memcpy(name, *path, length);
    name[length] = '\0';
    if (length == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(err, CHR_E_REFUSED, "a path has no \"%s\" in it", name);
    *path += length;
    if (**path == '/' && *++*path == '\0')
        return err_set(err, CHR_E_REFUSED, "a path does not end in /");
    return 0;
}

/* Find the folder of PATH, and what answers to its last component. */
static int locate(const struct fat_edit *edit, const char *path, struct place *place,
                  struct chr_error *err)
{
    const uint8_t *entry;

    if (fat_folder_read(&edit->table, 0, &place->folder, err) < 0)
        return -1;
    for (;;) {
        if (next_component(&path, place->name, err) < 0 ||
            fat_folder_find(&place->folder, place->name, &place->there, &place->found, err) < 0)
            return -1;
        if (path[0] == '\0')
            return 0;
        entry = place->there ? fat_folder_slot(&place->folder, place->found.slot) : NULL;
        if (entry == NULL)
            return err_set(err, CHR_E_MISSING, "there is no folder %s", place->name);
        if (!is_folder(entry))
            return err_set(err, CHR_E_MISSING, "%s is a file, not a folder", place->name);
        place->folder_cluster = entry_cluster(edit, entry);
        fat_folder_release(&place->folder);
        if (fat_folder_read(&edit->table, place->folder_cluster, &place->folder, err) < 0)
            return -1;
    }
}

static int find_existing(const struct fat_edit *edit, const char *path, struct place *place,
                         struct chr_error *err)
{
    if (locate(edit, path, place, err) < 0)
        return -1;
    return place->there ? 0 : err_set(err, CHR_E_MISSING, "no such file or folder");
}

int fat_edit_own_path(const struct fat_edit *edit, const char *path, char out[FILE_PATH_MAX],
                      struct chr_error *err)
{
    return fat_path_own(&edit->table, path, out, err);
}

/* ---- looking ---- */

static int stat_entry(const struct fat_edit *edit, const uint8_t *entry, struct edit_entry *out,
                      struct chr_error *err)
{
    AUTO_FREE uint32_t *chain = NULL;
    uint32_t count = 0;

    *out = (struct edit_entry){
        .kind = is_folder(entry) ? FILE_FOLDER : FILE_REGULAR,
        .size = le32(entry + 28),
        .attributes = {.mode = fat_decode_mode(entry),
                       .modified = fat_decode_time(le16(entry + 24), le16(entry + 22))},
        .links = 1,
    };
    if (out->kind == FILE_REGULAR)
        return 0;
    if (fat_table_chain(&edit->table, entry_cluster(edit, entry), &chain, &count, err) < 0)
        return -1;
    out->size = (uint64_t)count * edit->table.volume.info.cluster_size;
    return 0;
}

int fat_edit_stat(struct fat_edit *edit, const char *path, struct edit_entry *out,
                  struct chr_error *err)
{
    AUTO_PLACE struct place place = {0};

    if (path[0] == '\0') {
        *out = (struct edit_entry){
            .kind = FILE_FOLDER, .attributes = {.mode = 0755}, .links = 1};
        return 0;
    }
    if (find_existing(edit, path, &place, err) < 0 ||
        stat_entry(edit, fat_folder_slot(&place.folder, place.found.slot), out, err) < 0)
        return err_context(err, "%s", path);
    return 0;
}

int fat_edit_room(struct fat_edit *edit, uint64_t *bytes, uint32_t *cluster_size,
                  struct chr_error *err)
{
    const struct fat_info *info = &edit->table.volume.info;

    (void)err;
    *bytes = (uint64_t)info->free_clusters * info->cluster_size;
    *cluster_size = info->cluster_size;
    return 0;
}

/* ---- a new entry ---- */

/* The slots of a name that is not there yet, planned. */
struct new_entry {
    uint8_t slots[(FAT_LONG_NAME_ENTRIES + 1) * FAT_ENTRY_SIZE];
    size_t count;
    size_t slot;
    uint32_t grow; /* clusters that the folder takes for it */
};

static struct fat_times times_of(const struct edit_attributes *attributes)
{
    return (struct fat_times){attributes->modified, attributes->modified, attributes->modified};
}

static uint8_t *short_entry(struct new_entry *entry)
{
    return entry->slots + (entry->count - 1) * FAT_ENTRY_SIZE;
}

static int plan_entry(const struct fat_edit *edit, const struct place *place, uint8_t attribute,
                      const struct edit_attributes *attributes, struct new_entry *out,
                      struct chr_error *err)
{
    const struct fat_times times = times_of(attributes);
    uint8_t alias[FAT_ALIAS_SIZE];

    *out = (struct new_entry){.count = 0};
    if (fat_name_check(place->name, err) < 0 ||
        fat_folder_alias(&place->folder, place->name, alias, err) < 0)
        return -1;
    if (fat_name_needs_long(place->name, alias))
        out->count = fat_encode_long_name(out->slots, place->name, alias);
    out->count++;
    fat_encode_short(short_entry(out), alias, attribute, &times, 0, 0);
    return fat_folder_place(&edit->table, &place->folder, out->count, &out->slot, &out->grow, err);
}

static int add_entry(struct fat_edit *edit, struct place *place, const struct new_entry *entry,
                     struct chr_error *err)
{
    if (fat_folder_grow(&edit->table, &place->folder, entry->grow, err) < 0)
        return -1;
    return fat_folder_write(&edit->table, &place->folder, entry->slot, entry->slots, entry->count,
                            err);
}

/* ---- put ---- */

static int put_new(struct fat_edit *edit, struct place *place, const struct edit_source *source,
                   const struct edit_attributes *attributes, struct chr_error *err)
{
    uint8_t read_only = (attributes->mode & 0222) == 0 ? FAT_ATTRIBUTE_READ_ONLY : 0;
    uint32_t needed = fat_file_clusters(&edit->table, source->size);
    struct new_entry entry;

    if (plan_entry(edit, place, FAT_ATTRIBUTE_ARCHIVE | read_only, attributes, &entry, err) < 0 ||
        fat_table_need(&edit->table, (uint64_t)needed + entry.grow, err) < 0)
        return -1;
    edit->broken = true;
    if (fat_file_fill(&edit->table, short_entry(&entry), source, err) < 0 ||
        add_entry(edit, place, &entry, err) < 0)
        return -1;
    edit->broken = false;
    return 0;
}

/* Another file's bytes under a name that stays as it is, with its attributes. */
static int put_again(struct fat_edit *edit, struct place *place, const struct edit_source *source,
                     const struct edit_attributes *attributes, struct chr_error *err)
{
    const struct fat_times times = times_of(attributes);
    uint8_t *entry = fat_folder_slot(&place->folder, place->found.slot);
    uint32_t needed = fat_file_clusters(&edit->table, source->size);
    uint32_t count = fat_file_clusters(&edit->table, le32(entry + 28));

    if (is_folder(entry))
        return err_set(err, CHR_E_REFUSED, "a folder is there");
    if (needed > count && fat_table_need(&edit->table, needed - count, err) < 0)
        return -1;
    edit->broken = true;
    if (fat_file_fill(&edit->table, entry, source, err) < 0)
        return -1;
    fat_encode_times(entry, &times);
    entry[11] |= FAT_ATTRIBUTE_ARCHIVE;
    if (fat_folder_write(&edit->table, &place->folder, place->found.slot, NULL, 1, err) < 0)
        return -1;
    edit->broken = false;
    return 0;
}

int fat_edit_put(struct fat_edit *edit, const char *path, const struct edit_source *source,
                 const struct edit_attributes *attributes, struct chr_error *err)
{
    AUTO_PLACE struct place place = {0};

    if (source->size > UINT32_MAX)
        return err_set(err, CHR_E_REFUSED, "%s: FAT cannot hold a file of %" PRIu64 " bytes", path,
                       source->size);
    if (locate(edit, path, &place, err) < 0 ||
        (place.there ? put_again(edit, &place, source, attributes, err)
                     : put_new(edit, &place, source, attributes, err)) < 0)
        return err_context(err, "%s", path);
    return 0;
}

/* ---- folders ---- */

/* An empty folder in CLUSTER. */
static int write_empty(const struct fat_edit *edit, uint32_t cluster, uint32_t parent,
                       const struct edit_attributes *attributes, struct chr_error *err)
{
    const struct fat_volume *volume = &edit->table.volume;
    const struct fat_times times = times_of(attributes);
    uint64_t off = fat_volume_offset(volume, cluster);
    uint8_t dots[2 * FAT_ENTRY_SIZE];

    fat_encode_short(dots, (const uint8_t *)".          ", FAT_ATTRIBUTE_FOLDER, &times, cluster,
                     0);
    fat_encode_short(dots + FAT_ENTRY_SIZE, (const uint8_t *)"..         ", FAT_ATTRIBUTE_FOLDER,
                     &times, parent, 0);
    if (blk_zero(volume->device, off, volume->info.cluster_size, err) < 0)
        return -1;
    return blk_write(volume->device, off, dots, sizeof dots, err);
}

static int make_folder(struct fat_edit *edit, struct place *place,
                       const struct edit_attributes *attributes, struct chr_error *err)
{
    struct new_entry entry;
    uint32_t cluster = 0;

    if (place->there)
        return err_set(err, CHR_E_EXISTS, "it is there already");
    if (plan_entry(edit, place, FAT_ATTRIBUTE_FOLDER, attributes, &entry, err) < 0 ||
        fat_table_need(&edit->table, (uint64_t)entry.grow + 1, err) < 0)
        return -1;
    edit->broken = true;
    if (fat_table_take(&edit->table, 0, 1, &cluster, err) < 0 ||
        write_empty(edit, cluster, place->folder_cluster, attributes, err) < 0)
        return -1;
    fat_encode_cluster(short_entry(&entry), cluster);
    if (add_entry(edit, place, &entry, err) < 0)
        return -1;
    edit->broken = false;
    return 0;
}

int fat_edit_make_folder(struct fat_edit *edit, const char *path,
                         const struct edit_attributes *attributes, struct chr_error *err)
{
    AUTO_PLACE struct place place = {0};

    if (path[0] == '\0')
        return err_set(err, CHR_E_EXISTS, "the root folder is there already");
    if (locate(edit, path, &place, err) < 0 || make_folder(edit, &place, attributes, err) < 0)
        return err_context(err, "%s", path);
    return 0;
}

/* ---- remove ---- */

/* First clusters of folders whose contents must go: a list, not a recursion as deep as they are
 * nested. */
struct pending {
    uint32_t *clusters;
    size_t count;
    size_t capacity;
};

static int add_pending(struct pending *pending, uint32_t cluster, struct chr_error *err)
{
    if (mem_grow(&pending->clusters, &pending->capacity, pending->count,
                 sizeof *pending->clusters, err) < 0)
        return -1;
    pending->clusters[pending->count++] = cluster;
    return 0;
}

/* Give back the files of FOLDER; its folders are kept for later. */
static int empty_folder(struct fat_edit *edit, const struct fat_folder *folder,
                        struct pending *pending, struct chr_error *err)
{
    struct fat_cursor cursor = {0};
    struct fat_found found;

    while (fat_folder_next(folder, &cursor, &found)) {
        const uint8_t *entry = fat_folder_slot(folder, found.slot);
        uint32_t cluster = entry_cluster(edit, entry);

        if ((is_folder(entry) ? add_pending(pending, cluster, err)
                              : fat_file_give_back(&edit->table, cluster, err)) < 0)
            return -1;
    }
    return 0;
}

static int remove_folders(struct fat_edit *edit, uint32_t first, struct chr_error *err)
{
    struct pending pending = {0};
    int result = add_pending(&pending, first, err);

    while (result == 0 && pending.count > 0) {
        uint32_t cluster = pending.clusters[--pending.count];
        struct fat_folder folder = {0};

        result = fat_folder_read(&edit->table, cluster, &folder, err);
        if (result == 0)
            result = empty_folder(edit, &folder, &pending, err);
        if (result == 0)
            fat_table_give_back(&edit->table, folder.chain, folder.cluster_count);
        fat_folder_release(&folder);
    }
    free(pending.clusters);
    return result;
}

static int check_empty(const struct fat_edit *edit, uint32_t cluster, struct chr_error *err)
{
    struct fat_folder folder = {0};
    struct fat_cursor cursor = {0};
    struct fat_found found;
    bool any;

    if (fat_folder_read(&edit->table, cluster, &folder, err) < 0)
        return -1;
    any = fat_folder_next(&folder, &cursor, &found);
    fat_folder_release(&folder);
    if (!any)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "the folder is not empty");
    return err_hint(err, "remove what is in it first, or all of it at once with -r");
}

static int remove_place(struct fat_edit *edit, struct place *place, bool recursive,
                        struct chr_error *err)
{
    const uint8_t *entry = fat_folder_slot(&place->folder, place->found.slot);
    uint32_t cluster = entry_cluster(edit, entry);
    bool folder = is_folder(entry);

    if (folder && !recursive && check_empty(edit, cluster, err) < 0)
        return -1;
    edit->broken = true;
    if ((folder ? remove_folders(edit, cluster, err)
                : fat_file_give_back(&edit->table, cluster, err)) < 0 ||
        fat_folder_erase(&edit->table, &place->folder, &place->found, err) < 0)
        return -1;
    edit->broken = false;
    return 0;
}

int fat_edit_remove(struct fat_edit *edit, const char *path, bool recursive, struct chr_error *err)
{
    AUTO_PLACE struct place place = {0};

    if (path[0] == '\0')
        return err_set(err, CHR_E_REFUSED, "the root folder cannot be removed");
    if (find_existing(edit, path, &place, err) < 0 ||
        remove_place(edit, &place, recursive, err) < 0)
        return err_context(err, "%s", path);
    return 0;
}

/* ---- the end ---- */

int fat_edit_finish(struct fat_edit **edit, struct chr_error *err)
{
    int result = (*edit)->broken
                     ? err_set(err, CHR_E_INTERNAL, "a FAT whose change failed is not written")
                     : fat_table_write(&(*edit)->table, err);

    fat_edit_cleanup(edit);
    return result;
}

void fat_edit_cleanup(struct fat_edit **edit)
{
    if (*edit == NULL)
        return;
    fat_table_release(&(*edit)->table);
    free(*edit);
    *edit = NULL;
}
