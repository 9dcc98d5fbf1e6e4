/* chr_list_files(), chr_read_file(): what is on boot and root partition. */
#include <string.h>

#include "base/bytes.h"
#include "op/session.h"

#define CHUNK 65536

void chr_listing_free(struct chr_listing *listing)
{
    if (listing == NULL)
        return;
    for (size_t i = 0; i < listing->count; i++)
        free(listing->entries[i].path);
    free(listing->entries);
    free(listing);
}

static void listing_cleanup(struct chr_listing **listing)
{
    chr_listing_free(*listing);
}

static enum chr_file_kind kind_of(enum file_kind kind)
{
    return kind == FILE_REGULAR   ? CHR_FILE_REGULAR
           : kind == FILE_FOLDER  ? CHR_FILE_FOLDER
           : kind == FILE_SYMLINK ? CHR_FILE_SYMLINK
                                  : CHR_FILE_OTHER;
}

static int add_entry(struct chr_listing *listing, const struct found *found,
                     const struct file_node *node, struct chr_error *err)
{
    struct chr_entry *entry = &listing->entries[listing->count];

    *entry = (struct chr_entry){
        .kind = kind_of(node->kind),
        .size = node->kind == FILE_FOLDER ? 0 : node->size,
        .mode = node->mode,
        .uid = node->uid,
        .gid = node->gid,
        .modified = node->modified,
    };
    entry->path = found_path(found, node, err);
    if (entry->path == NULL)
        return -1;
    listing->count++;
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct chr_entry *)a)->path, ((const struct chr_entry *)b)->path);
}

static int fill(struct chr_listing *listing, const struct found *found, bool recursive,
                struct chr_error *err)
{
    const struct file_tree *tree = &found->tree;

    listing->entries = mem_new(tree->count, sizeof *listing->entries, err);
    if (listing->entries == NULL)
        return -1;
    if (tree->nodes[found->index].kind != FILE_FOLDER)
        return add_entry(listing, found, &tree->nodes[found->index], err);
    for (size_t i = 1; i < tree->count; i++)
        if ((recursive || tree->nodes[i].parent == 0) &&
            add_entry(listing, found, &tree->nodes[i], err) < 0)
            return -1;
    if (listing->count > 1)
        qsort(listing->entries, listing->count, sizeof *listing->entries, by_path);
    return 0;
}

/* A zip's CRC is known at its end only; nothing is taken from a damaged one. */
static int open_side(struct chr_image *image, bool on_boot, struct session *session,
                     struct side **side, struct chr_error *err)
{
    if (image_verify(image, err) < 0 || session_open(image, NULL, session, err) < 0)
        return -1;
    return session_side(session, on_boot ? SESSION_BOOT : SESSION_ROOT, side, err);
}

static int list(struct chr_image *image, bool on_boot, const char *path, bool recursive,
                struct chr_listing *listing, struct chr_error *err)
{
    AUTO_SESSION struct session session = {0};
    AUTO_FOUND struct found found = {0};
    struct side *side;

    if (open_side(image, on_boot, &session, &side, err) < 0 ||
        side_find(side, path, recursive, &found, err) < 0)
        return -1;
    listing->journal = session.journal;
    return fill(listing, &found, recursive, err);
}

int chr_list_files(struct chr_image *image, bool on_boot, const char *path, bool recursive,
                   struct chr_listing **out, struct chr_error *err)
{
    CLEANUP(listing_cleanup) struct chr_listing *listing = mem_new(1, sizeof *listing, err);

    if (listing == NULL)
        return -1;
    if (list(image, on_boot, path, recursive, listing, err) < 0)
        return image_context(image, err);
    *out = STEAL(listing);
    return 0;
}

static int read_node(const struct side *side, const struct file_node *node, chr_write_fn *write,
                     void *context, struct chr_error *err)
{
    uint8_t buf[CHUNK];
    int result = 0;

    for (uint64_t off = 0; result == 0 && off < node->size; off += sizeof buf) {
        size_t len = (size_t)min_u64(sizeof buf, node->size - off);

        result = file_read(side->window, node, off, buf, len, err);
        if (result == 0)
            result = write(context, buf, len, err);
    }
    explicit_bzero(buf, sizeof buf); /* it may have been a password */
    return result;
}

static int read_found(struct chr_image *image, bool on_boot, const char *path, chr_write_fn *write,
                      void *context, struct chr_error *err)
{
    AUTO_SESSION struct session session = {0};
    AUTO_FOUND struct found found = {0};
    struct side *side;

    if (open_side(image, on_boot, &session, &side, err) < 0 ||
        side_find(side, path, false, &found, err) < 0)
        return -1;
    if (found.tree.nodes[found.index].kind != FILE_REGULAR) {
        (void)err_set(err, CHR_E_REFUSED, "%s/%s is %s, not a file", on_boot ? "boot:" : "", path,
                      found.tree.nodes[found.index].kind == FILE_FOLDER ? "a folder"
                                                                        : "a link or a device");
        return found.tree.nodes[found.index].kind == FILE_FOLDER
                   ? err_hint(err, "chrimg ls lists it, chrimg cp -r takes it out")
                   : -1;
    }
    return read_node(side, &found.tree.nodes[found.index], write, context, err);
}

int chr_read_file(struct chr_image *image, bool on_boot, const char *path, chr_write_fn *write,
                  void *context, struct chr_error *err)
{
    return read_found(image, on_boot, path, write, context, err) < 0
               ? image_context(image, err)
               : 0;
}
