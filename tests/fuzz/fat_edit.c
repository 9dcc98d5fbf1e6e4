/*
 * FAT: the editor, on a partition of 4 MiB that begins with the input.  What could be
 * opened stays sound, whatever is put on it and removed.
 */
#include "block/overlay.h"
#include "fs/fat_edit.h"
#include "fuzz.h"

static int read_bytes(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    (void)context;
    (void)off;
    (void)err;
    memset(buf, 'x', len);
    return 0;
}

/* A step may find no room, no place, or two files of one name. */
static void may_be_refused(int result, const struct chr_error *err)
{
    if (result < 0)
        must_be_told(err);
}

static void change(struct fat_edit *edit, const struct file_tree *tree)
{
    static const struct edit_attributes attributes = {.mode = 0644, .modified = 1000000000};
    struct edit_source source = {.read = read_bytes};
    struct chr_error err = {0};

    /* The first few files that are there, and names that may be new. */
    for (size_t i = 1; i < tree->count && i < 8; i++) {
        const char *path = tree->nodes[i].path;

        source.size = i * 5000;
        if (i % 3 == 2)
            may_be_refused(fat_edit_remove(edit, path, i % 2 == 0, &err), &err);
        else
            may_be_refused(fat_edit_put(edit, path, &source, &attributes, &err), &err);
    }
    may_be_refused(fat_edit_make_folder(edit, "EFI", &attributes, &err), &err);
    may_be_refused(fat_edit_put(edit, "EFI/a long name of a file.text", &source, &attributes, &err),
                   &err);
    source.size = 1u << 20;
    may_be_refused(fat_edit_put(edit, "LARGE", &source, &attributes, &err), &err);
    may_be_refused(fat_edit_remove(edit, "EFI", true, &err), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory device = memory_device(data, size, 4 << 20);
    AUTO_BLK struct blk *overlay = NULL;
    AUTO_FAT_EDIT struct fat_edit *edit = NULL;
    AUTO_TREE struct file_tree before = {0};
    AUTO_TREE struct file_tree after = {0};
    struct fat_info info;
    struct chr_error err = {0};

    MUST(overlay_open(&device.blk, &overlay, &err) == 0, "%s", err.message);
    if (fat_edit_open(overlay, &edit, &err) < 0) {
        must_be_told(&err);
        return 0;
    }
    MUST(fat_read(overlay, &info, &before, &err) == 0, "%s", err.message);
    change(edit, &before);
    MUST(fat_edit_finish(&edit, &err) == 0, "%s", err.message);
    MUST(fat_read(overlay, &info, &after, &err) == 0, "after the change: %s", err.message);
    return 0;
}
