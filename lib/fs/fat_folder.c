/* Folders: found, added, removed. */
#include "fs/fat_folder.h"

#include <inttypes.h>

#include "base/bytes.h"

#define ALIAS_TRIES 999999 /* ~999999 leaves one letter of the name */

/* ---- reading ---- */

static int read_slots(const struct fat_volume *volume, struct fat_folder *folder,
                      struct chr_error *err)
{
    size_t size = volume->info.cluster_size;

    folder->bytes = mem_new(folder->slots + 1, FAT_ENTRY_SIZE, err);
    if (folder->bytes == NULL)
        return -1;
    if (folder->cluster_count == 0)
        return folder->slots == 0
                   ? 0
                   : blk_read(volume->device, volume->root_offset, folder->bytes,
                              folder->slots * FAT_ENTRY_SIZE, err);
    for (uint32_t i = 0; i < folder->cluster_count; i++)
        if (blk_read(volume->device, fat_volume_offset(volume, folder->chain[i]),
                     folder->bytes + i * size, size, err) < 0)
            return -1;
    return 0;
}

int fat_folder_read(const struct fat_table *table, uint32_t first, struct fat_folder *out,
                    struct chr_error *err)
{
    const struct fat_volume *volume = &table->volume;
    struct fat_folder folder = {.is_root = first == 0 || first == volume->root_cluster};
    uint64_t slots = volume->root_entries;

    if (first == 0)
        first = volume->root_cluster;
    if (fat_table_chain(table, first, &folder.chain, &folder.cluster_count, err) < 0)
        return -1;
    if (folder.cluster_count > 0)
        slots = (uint64_t)folder.cluster_count * volume->info.cluster_size / FAT_ENTRY_SIZE;
    folder.slots = (size_t)slots;
    if (slots > FAT_FOLDER_MAX_ENTRIES) {
        fat_folder_release(&folder);
        return err_set(err, CHR_E_DAMAGED, "a folder has room for %" PRIu64
                       " entries, FAT knows at most %d", slots, FAT_FOLDER_MAX_ENTRIES);
    }
    if (read_slots(volume, &folder, err) < 0) {
        fat_folder_release(&folder);
        return -1;
    }
    while (folder.end < folder.slots &&
           fat_decode_kind(fat_folder_slot(&folder, folder.end)) != FAT_ENTRY_IS_END)
        folder.end++;
    *out = folder;
    return 0;
}

void fat_folder_release(struct fat_folder *folder)
{
    free(folder->chain);
    free(folder->bytes);
    *folder = (struct fat_folder){0};
}

bool fat_folder_next(const struct fat_folder *folder, struct fat_cursor *cursor,
                     struct fat_found *found)
{
    while (cursor->slot < folder->end) {
        size_t slot = cursor->slot++;
        const uint8_t *entry = fat_folder_slot(folder, slot);
        enum fat_entry_kind kind = fat_decode_kind(entry);

        if (kind == FAT_ENTRY_IS_LONG) {
            fat_long_name_take(&cursor->name, entry);
            continue;
        }
        if (kind == FAT_ENTRY_IS_FILE) {
            bool is_long = fat_long_name_belongs(&cursor->name, entry);

            found->slot = slot;
            found->first = is_long ? slot - cursor->name.pieces : slot;
            fat_decode_name(&cursor->name, entry, found->name);
            cursor->name.any = false;
            return true;
        }
        cursor->name.any = false;
    }
    return false;
}

/* Whether the file at SLOT, called OWN, answers to NAME. */
static bool answers_to(const struct fat_folder *folder, size_t slot, const char *own,
                       const char *name)
{
    static const struct fat_long_name none;
    char alias[FAT_NAME_TEXT_SIZE];

    if (fat_name_same(own, name))
        return true;
    fat_decode_name(&none, fat_folder_slot(folder, slot), alias);
    return fat_name_same(alias, name);
}

int fat_folder_find(const struct fat_folder *folder, const char *name, bool *there,
                    struct fat_found *found, struct chr_error *err)
{
    struct fat_cursor cursor = {0};
    struct fat_found next;

    *there = false;
    while (fat_folder_next(folder, &cursor, &next)) {
        if (!answers_to(folder, next.slot, next.name, name))
            continue;
        if (*there)
            return err_set(err, CHR_E_DAMAGED, "two files of one folder answer to the name");
        *there = true;
        *found = next;
    }
    return 0;
}

/* ---- the alias of a new name ---- */

static bool alias_is_free(const struct fat_folder *folder, const uint8_t alias[FAT_ALIAS_SIZE])
{
    struct fat_cursor cursor = {0};
    struct fat_found found;
    char text[FAT_ALIAS_TEXT_SIZE];

    fat_name_alias_text(alias, text);
    while (fat_folder_next(folder, &cursor, &found))
        if (memcmp(fat_folder_slot(folder, found.slot), alias, FAT_ALIAS_SIZE) == 0 ||
            answers_to(folder, found.slot, found.name, text))
            return false;
    return true;
}

/* The N of the "~N" that an alias's first 8 bytes end in; 0 without. */
static unsigned tail_number(const uint8_t *alias)
{
    unsigned number = 0;
    int at = 0;

    while (at < 8 && alias[at] != '~')
        at++;
    for (at++; at < 8 && alias[at] >= '0' && alias[at] <= '9'; at++)
        number = number * 10 + (alias[at] - '0');
    return number;
}

/* Mark in USED the attempts from 1 to COUNT - 1 whose alias is taken: one look at each file,
 * instead of one at all of them for each attempt. */
static void mark_attempts(const struct fat_folder *folder, const char *name, uint8_t *used,
                          size_t count)
{
    struct fat_cursor cursor = {0};
    struct fat_found found;
    uint8_t alias[FAT_ALIAS_SIZE];

    while (fat_folder_next(folder, &cursor, &found)) {
        const uint8_t *entry = fat_folder_slot(folder, found.slot);
        unsigned number = tail_number(entry);

        if (number == 0 || number >= count)
            continue;
        (void)fat_name_alias(name, number, alias);
        if (memcmp(entry, alias, FAT_ALIAS_SIZE) == 0)
            used[number] = 1;
    }
}

int fat_folder_alias(const struct fat_folder *folder, const char *name,
                     uint8_t alias[FAT_ALIAS_SIZE], struct chr_error *err)
{
    /* One of so many is free: the folder has fewer files. */
    size_t count = folder->slots + 2;
    AUTO_FREE uint8_t *used = NULL;

    if (fat_name_alias(name, 0, alias) && alias_is_free(folder, alias))
        return 0;
    used = mem_new(count, 1, err);
    if (used == NULL)
        return -1;
    mark_attempts(folder, name, used, count);
    for (unsigned attempt = 1; attempt < count && attempt <= ALIAS_TRIES; attempt++) {
        if (used[attempt] != 0)
            continue;
        (void)fat_name_alias(name, attempt, alias);
        if (alias_is_free(folder, alias))
            return 0;
    }
    return err_set(err, CHR_E_REFUSED, "no short name is left for it in its folder");
}

/* ---- changing ---- */

/* The first of COUNT free slots in a row, or of those at the end that are too few. */
static size_t free_slots(const struct fat_folder *folder, size_t count)
{
    size_t first = 0;

    for (size_t slot = 0; slot < folder->slots; slot++) {
        if (slot < folder->end &&
            fat_decode_kind(fat_folder_slot(folder, slot)) != FAT_ENTRY_IS_DELETED)
            first = slot + 1;
        else if (slot + 1 - first == count)
            break;
    }
    return first;
}

int fat_folder_place(const struct fat_table *table, const struct fat_folder *folder, size_t count,
                     size_t *slot, uint32_t *grow, struct chr_error *err)
{
    size_t per_cluster = table->volume.info.cluster_size / FAT_ENTRY_SIZE;
    size_t missing;

    *slot = free_slots(folder, count);
    *grow = 0;
    if (*slot + count <= folder->slots)
        return 0;
    missing = *slot + count - folder->slots;
    if (folder->cluster_count == 0)
        (void)err_set(err, CHR_E_SPACE,
                      "the root folder is full: of its %zu entries, %zu bytes are missing for the "
                      "name",
                      folder->slots, missing * FAT_ENTRY_SIZE);
    else if (*slot + count > FAT_FOLDER_MAX_ENTRIES)
        (void)err_set(err, CHR_E_SPACE,
                      "its folder is full: FAT knows at most %d entries, %zu bytes are missing for "
                      "the name",
                      FAT_FOLDER_MAX_ENTRIES, missing * FAT_ENTRY_SIZE);
    else {
        *grow = (uint32_t)((missing + per_cluster - 1) / per_cluster);
        return 0;
    }
    return err_hint(err, "use another folder, a shorter name (8.3, capital letters: one entry), or "
                    "remove a file from this one");
}

int fat_folder_grow(struct fat_table *table, struct fat_folder *folder, uint32_t grow,
                    struct chr_error *err)
{
    const struct fat_volume *volume = &table->volume;
    size_t size = volume->info.cluster_size;
    size_t slots = folder->slots + grow * size / FAT_ENTRY_SIZE;
    uint32_t count = folder->cluster_count + grow;
    AUTO_FREE uint32_t *chain = NULL;
    AUTO_FREE uint8_t *bytes = NULL;

    if (grow == 0)
        return 0;
    chain = mem_new(count, sizeof *chain, err);
    bytes = mem_new(slots, FAT_ENTRY_SIZE, err);
    if (chain == NULL || bytes == NULL)
        return -1;
    memcpy(chain, folder->chain, folder->cluster_count * sizeof *chain);
    memcpy(bytes, folder->bytes, folder->slots * FAT_ENTRY_SIZE);
    if (fat_table_take(table, chain[folder->cluster_count - 1], grow, chain + folder->cluster_count,
                       err) < 0)
        return -1;
    for (uint32_t i = folder->cluster_count; i < count; i++)
        if (blk_zero(volume->device, fat_volume_offset(volume, chain[i]), size, err) < 0)
            return -1;
    fat_table_link(table, chain[folder->cluster_count - 1], chain[folder->cluster_count]);
    free(folder->chain);
    free(folder->bytes);
    folder->chain = STEAL(chain);
    folder->bytes = STEAL(bytes);
    folder->cluster_count = count;
    folder->slots = slots;
    return 0;
}

/* Write what is in memory of one slot. */
static int write_slot(const struct fat_volume *volume, const struct fat_folder *folder, size_t slot,
                      struct chr_error *err)
{
    size_t size = volume->info.cluster_size;
    size_t at = slot * FAT_ENTRY_SIZE;
    uint64_t off = folder->cluster_count == 0
                       ? volume->root_offset + at
                       : fat_volume_offset(volume, folder->chain[at / size]) + at % size;

    return blk_write(volume->device, off, folder->bytes + at, FAT_ENTRY_SIZE, err);
}

int fat_folder_write(const struct fat_table *table, struct fat_folder *folder, size_t slot,
                     const uint8_t *entries, size_t count, struct chr_error *err)
{
    if (slot + count > folder->slots)
        return err_set(err, CHR_E_INTERNAL, "folder entries behind the folder");
    if (entries != NULL)
        memcpy(fat_folder_slot(folder, slot), entries, count * FAT_ENTRY_SIZE);
    /* What lies behind the end mark may be anything: the mark moves along. */
    if (slot + count > folder->end) {
        folder->end = slot + count;
        if (folder->end < folder->slots && *fat_folder_slot(folder, folder->end) != 0) {
            memset(fat_folder_slot(folder, folder->end), 0, FAT_ENTRY_SIZE);
            if (write_slot(&table->volume, folder, folder->end, err) < 0)
                return -1;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (write_slot(&table->volume, folder, slot + i, err) < 0)
            return -1;
    return 0;
}

int fat_folder_erase(const struct fat_table *table, struct fat_folder *folder,
                     const struct fat_found *found, struct chr_error *err)
{
    for (size_t slot = found->first; slot <= found->slot; slot++)
        *fat_folder_slot(folder, slot) = FAT_ENTRY_DELETED;
    return fat_folder_write(table, folder, found->first, NULL, found->slot - found->first + 1, err);
}
