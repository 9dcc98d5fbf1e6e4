/* Paths of a FAT: from the root folder down. */
#include "fs/fat_path.h"

#include <stdio.h>
#include <string.h>

#include "fs/fat_folder.h"

/*
 * What is called NAME in the folder that begins at *CLUSTER: its own name into NAME, and
 * *CLUSTER becomes its first one.  *THERE: whether it is a folder, so that one can go on.
 */
static int step(const struct fat_table *table, char name[FAT_NAME_TEXT_SIZE], uint32_t *cluster,
                bool *there, struct chr_error *err)
{
    CLEANUP(fat_folder_release) struct fat_folder folder = {0};
    struct fat_found found;
    const uint8_t *entry;

    if (fat_folder_read(table, *cluster, &folder, err) < 0 ||
        fat_folder_find(&folder, name, there, &found, err) < 0)
        return -1;
    if (!*there)
        return 0;
    entry = fat_folder_slot(&folder, found.slot);
    *there = (entry[11] & FAT_ATTRIBUTE_FOLDER) != 0;
    *cluster = fat_decode_cluster(entry, table->volume.info.bits);
    memcpy(name, found.name, sizeof found.name);
    return 0;
}

int fat_path_own(const struct fat_table *table, const char *path, char out[FILE_PATH_MAX],
                 struct chr_error *err)
{
    uint32_t cluster = 0; /* the root */
    bool there = true;
    size_t length = 0;

    out[0] = '\0';
    while (*path != '\0') {
        size_t size = strcspn(path, "/");
        char name[FAT_NAME_TEXT_SIZE];

        if (size >= sizeof name)
            return err_set(err, CHR_E_REFUSED, "FAT cannot hold a name of %zu bytes", size);
        (void)snprintf(name, sizeof name, "%.*s", (int)size, path);
        if (there && step(table, name, &cluster, &there, err) < 0)
            return -1;
        length += (size_t)snprintf(out + length, FILE_PATH_MAX - length, "%s%s",
                                   length > 0 ? "/" : "", name);
        if (length >= FILE_PATH_MAX)
            return err_set(err, CHR_E_REFUSED, "a path of more than %d bytes", FILE_PATH_MAX - 1);
        path += size + (path[size] == '/');
    }
    return 0;
}

int fat_path_read(struct blk *device, const char *path, char out[FILE_PATH_MAX],
                  struct chr_error *err)
{
    struct fat_table table = {0};
    int result = fat_volume_open(device, &table.volume, err);

    if (result == 0)
        result = fat_path_own(&table, path, out, err);
    fat_table_release(&table);
    return result;
}
