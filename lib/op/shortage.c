/* Counting what does not fit. */
#include "op/shortage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "op/way_out.h"

/* FAT: entries of 32 bytes, one for 13 characters of a long name, and one for the file. */
#define FAT_ENTRY 32
#define FAT_ENTRY_CHARACTERS 13
/* ext: eight bytes before the name, all of it in fours. */
#define EXT_ENTRY 8

#define AND_MORE_SIZE 40
#define AMOUNT_SIZE 80

void shortage_release(struct shortage *shortage)
{
    free(shortage->first);
    touched_release(&shortage->folders);
    *shortage = (struct shortage){0};
}

/* ---- counting ---- */

static int need_on_fat(struct side *side, uint64_t size, struct edit_need *need,
                       struct chr_error *err)
{
    uint64_t room;
    uint32_t cluster;

    if (fat_edit_room(side->fat, &room, &cluster, err) < 0)
        return -1;
    need->bytes += (size / cluster + (size % cluster != 0)) * cluster;
    return 0;
}

/* Of a new file, or one in the place of another; a folder has one block or cluster. */
static int add_need(struct shortage *shortage, struct session *session, struct side *side,
                    const char *path, uint64_t size, struct chr_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t length = strlen(slash != NULL ? slash + 1 : path);
    struct edit_need *need = &shortage->need;
    struct edit_need old = {0};
    struct edit_entry entry;
    bool there = side_stat(session, side, path, &entry, err) == 0;

    if (!there && err->code != CHR_E_MISSING)
        return -1;
    if (side->fat != NULL) {
        if (need_on_fat(side, size, need, err) < 0 ||
            (there && need_on_fat(side, entry.size, &old, err) < 0))
            return -1;
        need->entry_bytes +=
            there ? 0 : FAT_ENTRY * (1 + (length + FAT_ENTRY_CHARACTERS - 1) / FAT_ENTRY_CHARACTERS);
    } else {
        ext_edit_need(side->ext, size, need);
        if (there && entry.links == 1)
            ext_edit_need(side->ext, entry.size, &old);
        need->entry_bytes += there ? 0 : EXT_ENTRY + (length + 3) / 4 * 4;
    }
    /* What is replaced comes back, but not before its turn. */
    need->bytes -= min_u64(need->bytes, old.bytes);
    need->inodes -= min_u64(need->inodes, old.inodes);
    return 0;
}

int shortage_add(struct shortage *shortage, struct session *session, struct side *side,
                 const char *path, bool is_folder, uint64_t size, struct chr_error *err)
{
    if (is_folder && touched_has(&shortage->folders, path))
        return 0;
    if (is_folder && touched_add(&shortage->folders, path, err) < 0)
        return -1;
    if (shortage->first == NULL) {
        shortage->error = *err;
        shortage->first = mem_strdup(path, err);
        if (shortage->first == NULL)
            return -1;
    } else {
        shortage->more++;
    }
    return add_need(shortage, session, side, path, is_folder ? 1 : size, err);
}

/* ---- telling ---- */

static int missing(const struct shortage *shortage, struct side *side, struct edit_shortage *out,
                   struct chr_error *err)
{
    uint32_t cluster;

    *out = (struct edit_shortage){0};
    if (side->fat == NULL) {
        ext_edit_shortage(side->ext, &shortage->need, out);
        return 0;
    }
    if (fat_edit_room(side->fat, &out->free, &cluster, err) < 0)
        return -1;
    if (shortage->need.bytes > out->free)
        out->bytes = shortage->need.bytes - out->free;
    return 0;
}

/* chrimg resize grows the root behind a boot partition, and nothing else. */
static int hint_at_room(const struct session *s, const struct side *side,
                        const struct edit_shortage *lacks, struct chr_error *err)
{
    AUTO_FREE char *image = NULL;

    if (side->is_boot)
        return err_hint(err, "a boot partition cannot be grown: remove from it what is not needed");
    if (s->table->partition_count == 1)
        return err_hint(err, "an image with one partition cannot be grown by chrimg resize: remove "
                             "what is not needed");
    image = way_out_name(s->image->path, NULL, err);
    if (image == NULL)
        return -1;
    if (lacks->growth == 0)
        return err_hint(err, "chrimg resize makes the image larger");
    return err_hint(err, "chrimg resize %s +%" PRIu64 "M makes room for all of it", image,
                    lacks->growth >> 20);
}

static void print_amount(const struct edit_shortage *lacks, char out[AMOUNT_SIZE])
{
    char inodes[AMOUNT_SIZE / 2] = "";

    if (lacks->inodes > 0)
        (void)snprintf(inodes, sizeof inodes, "%" PRIu64 " inode%s", lacks->inodes,
                       lacks->inodes == 1 ? "" : "s");
    if (lacks->bytes == 0)
        (void)snprintf(out, AMOUNT_SIZE, "%s %s", inodes, lacks->inodes == 1 ? "is" : "are");
    else
        (void)snprintf(out, AMOUNT_SIZE, "%" PRIu64 " bytes%s%s are", lacks->bytes,
                       inodes[0] != '\0' ? " and " : "", inodes);
}

int shortage_check(const struct shortage *shortage, const struct session *s, struct side *side,
                   struct chr_error *err)
{
    struct edit_shortage lacks;
    char and_more[AND_MORE_SIZE] = "";
    char amount[AMOUNT_SIZE];

    if (shortage->first == NULL)
        return 0;
    if (missing(shortage, side, &lacks, err) < 0)
        return -1;
    /* A full root folder of a FAT, or the host's disk: no room that could be added up. */
    if (lacks.bytes == 0 && lacks.inodes == 0) {
        *err = shortage->error;
        return -1;
    }
    if (shortage->more > 0)
        (void)snprintf(and_more, sizeof and_more, " and %" PRIu64 " more", shortage->more);
    print_amount(&lacks, amount);
    (void)err_set(err, CHR_E_SPACE, "no room for %s/%s%s: %s missing, %" PRIu64 " bytes are free",
                  side->is_boot ? "boot:" : "", shortage->first, and_more, amount, lacks.free);
    return hint_at_room(s, side, &lacks, err);
}
