/* chr_copy_out(), chr_copy_in(), chr_remove_file(): single files and whole folders. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/shell.h"
#include "op/commit.h"
#include "op/files.h"
#include "op/pack.h"
#include "op/session.h"
#include "op/unpack.h"
#include "rsc/secret.h"

/* It is kept in memory until the image is written. */
#define STDIN_MAX (32u << 20)

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static char *join(const char *folder, const char *name, struct chr_error *err)
{
    size_t length = strlen(folder);
    char *path = mem_new(1, length + strlen(name) + 2, err);

    if (path != NULL)
        (void)sprintf(path, "%s%s%s", folder, length > 0 && folder[length - 1] != '/' ? "/" : "",
                      name);
    return path;
}

/* ---- out of an image ---- */

/*
 * "dir" -> "dir/name" where dir is a folder of the host.  DIR may be a link, which the user
 * has named; the name in it comes from the image, and must not lead elsewhere.
 */
static char *target_path(const char *target, const char *name, struct chr_error *err)
{
    struct stat st;
    AUTO_FREE char *path = NULL;

    if (name[0] == '\0' || stat(target, &st) < 0 || !S_ISDIR(st.st_mode))
        return mem_strdup(target, err);
    path = join(target, name, err);
    if (path != NULL && lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && stat(path, &st) == 0 &&
        S_ISDIR(st.st_mode)) {
        (void)err_set(err, CHR_E_REFUSED, "%s is a symbolic link to a folder, which is not "
                      "followed", path);
        return NULL;
    }
    return STEAL(path);
}

static int copy_file_out(const struct chr_image *image, const struct side *side,
                         const struct file_node *node, const char *target, bool force,
                         struct chr_copy_report *report, struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};

    if (same_file(image->path, target))
        return err_set(err, CHR_E_USAGE, "%s is the image itself", target);
    if (output_begin(target, 0, force, &output, err) < 0)
        return err->code == CHR_E_REFUSED
                   ? err_hint(err, "chrimg cp IMG:/PATH - > %s writes there", HINT_WORD(target)) : -1;
    if (unpack_contents(side->window, node, output.blk->fd, err) < 0)
        return -1;
    report->files = 1;
    report->bytes = node->size;
    return output_publish(&output, err);
}

static int copy_folder_out(const struct chr_image *image, const struct side *side,
                           const struct found *found, const char *target,
                           const struct chr_copy_options *options, struct chr_copy_report *report,
                           struct chr_error *err)
{
    const struct unpack unpack = {.device = side->window, .tree = &found->tree, .folder = target,
                                  .force = options->force, .skip_others = true,
                                  .image = image->path};
    struct unpack_report done = {0};

    if (!options->recursive) {
        (void)err_set(err, CHR_E_USAGE, "%s/%s is a folder; -r copies folders",
                      side->is_boot ? "boot:" : "", found->folder);
        return image_context(image, err);
    }
    if (unpack_tree(&unpack, &done, err) < 0)
        return -1;
    report->files = done.files;
    report->folders = done.folders + 1;
    report->skipped = done.skipped;
    report->bytes = done.bytes;
    return 0;
}

int chr_copy_out(struct chr_image *image, bool on_boot, const char *path, const char *target,
                 const struct chr_copy_options *options, struct chr_copy_report *report,
                 struct chr_error *err)
{
    AUTO_SESSION struct session session = {0};
    AUTO_FOUND struct found found = {0};
    AUTO_FREE char *to = target_path(target, last_name(path), err);
    const struct file_node *node;
    struct side *side;

    *report = (struct chr_copy_report){0};
    if (to == NULL || image_verify(image, err) < 0)
        return -1;
    if (session_open(image, NULL, &session, err) < 0 ||
        session_side(&session, on_boot ? SESSION_BOOT : SESSION_ROOT, &side, err) < 0 ||
        side_find(side, path, options->recursive, &found, err) < 0)
        return image_context(image, err);
    report->journal = session.journal;
    node = &found.tree.nodes[found.index];
    if (node->kind == FILE_FOLDER)
        return copy_folder_out(image, side, &found, to, options, report, err);
    if (node->kind == FILE_REGULAR)
        return copy_file_out(image, side, node, to, options->force, report, err);
    (void)err_set(err, CHR_E_REFUSED, "%s/%s is a link or a device, which is not taken out",
                  on_boot ? "boot:" : "", path);
    return image_context(image, err);
}

/* ---- into an image ---- */

struct change {
    struct chr_image *image;
    struct session session;
    struct side *side;
};

static void change_release(struct change *change)
{
    session_release(&change->session);
    chr_image_close(change->image);
}

static int begin_change(const struct chr_place *place, const struct chr_copy_options *options,
                        struct change *change, struct chr_error *err)
{
    if (chr_image_open(place->image, options->dry_run ? 0 : CHR_OPEN_WRITE, &change->image, err) <
        0)
        return -1;
    if (commit_check(change->image, err) < 0 ||
        session_open(change->image, options->modified, &change->session, err) < 0 ||
        session_side(&change->session, place->on_boot ? SESSION_BOOT : SESSION_ROOT, &change->side,
                     err) < 0 ||
        session_spill(&change->session, err) < 0)
        return err_context(err, "%s", place->image);
    return 0;
}

static int end_change(struct change *change, const struct chr_copy_options *options,
                      struct chr_copy_report *report, struct chr_error *err)
{
    if (session_finish(&change->session, !options->dry_run, &report->changed_bytes, err) < 0)
        return err_context(err, "%s", change->image->path);
    report->recovered = change->image->recovered;
    report->journal = change->session.journal;
    return 0;
}

static int count_packed(void *context, const struct packed *packed, struct chr_error *err)
{
    struct chr_copy_report *report = context;

    (void)err;
    report->files += !packed->is_folder;
    report->folders += packed->is_folder && !packed->is_above;
    report->folders_above += packed->is_above;
    report->bytes += packed->size;
    return 0;
}

/* Into the folder that PLACE names, or under the name that it is; as cp does. */
static char *place_path(struct change *change, const struct chr_place *place, const char *source,
                        struct chr_error *err)
{
    AUTO_FREE char *plain = mem_strdup(source, err);
    struct edit_entry entry;
    size_t length = strlen(source);

    if (plain == NULL)
        return NULL;
    while (length > 1 && plain[length - 1] == '/')
        plain[--length] = '\0';
    if (side_stat(&change->session, change->side, place->path, &entry, err) == 0
            ? entry.kind == FILE_FOLDER
            : place->wants_folder)
        return join(place->path, last_name(plain), err);
    return mem_strdup(place->path, err);
}

/* What standard input holds may be a password, so it is kept as one. */
static int pack_stdin(const struct pack *pack, const struct chr_place *place, struct chr_error *err)
{
    AUTO_SECRET struct secret bytes = {0};
    struct edit_entry entry;

    if (place->wants_folder ||
        (side_stat(pack->session, pack->side, place->path, &entry, err) == 0 &&
         entry.kind == FILE_FOLDER)) {
        (void)err_set(err, CHR_E_USAGE, "/%s is a folder, and standard input has no name",
                      place->path);
        return err_hint(err, "name the file, too: IMG:/FOLDER/NAME");
    }
    if (secret_read(&bytes, STDIN_FILENO, STDIN_MAX, "standard input", err) < 0)
        return err->code == CHR_E_REFUSED
                   ? err_hint(err, "put it into a file first; that may be as large as there is "
                                   "room for") : -1;
    return pack_bytes(pack, bytes.data, bytes.len, place->path, err);
}

static int pack_named(const struct pack *pack, struct change *change, const char *source,
                      const struct chr_place *place, struct chr_error *err)
{
    AUTO_FREE char *path = place_path(change, place, source, err);

    return path == NULL ? -1 : pack_source(pack, source, path, err);
}

int chr_copy_in(const char *source, const struct chr_place *place,
                const struct chr_copy_options *options, struct chr_copy_report *report,
                struct chr_error *err)
{
    CLEANUP(change_release) struct change change = {0};
    AUTO_SHORTAGE struct shortage shortage = {0};
    struct pack pack = {.recursive = options->recursive, .replace = options->force,
                        .shortage = &shortage, .done = count_packed, .context = report};

    *report = (struct chr_copy_report){0};
    /* The host's own name, so that its absence is not said of the image. */
    if (strcmp(source, "-") != 0 && source[0] != '\0' && access(source, R_OK) < 0)
        return err_errno(err, errno, "cannot open %s", source);
    if (begin_change(place, options, &change, err) < 0)
        return -1;
    pack.session = &change.session;
    pack.side = change.side;
    if ((strcmp(source, "-") == 0 ? pack_stdin(&pack, place, err)
                                  : pack_named(&pack, &change, source, place, err)) < 0 ||
        shortage_check(&shortage, &change.session, change.side, err) < 0) {
        (void)err_context(err, "%s", place->image);
        return err->code == CHR_E_EXISTS ? err_hint(err, "use --force to replace files") : -1;
    }
    return end_change(&change, options, report, err);
}

/* "rm FILE/" removes nothing, as rm(1). */
static int check_kind(const struct chr_place *place, const struct edit_entry *entry,
                      struct chr_error *err)
{
    if (!place->wants_folder || entry->kind == FILE_FOLDER)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "/%s/: it is no folder", place->path);
    return err_hint(err, "without the slash it is the file that is removed");
}

int chr_remove_file(const struct chr_place *place, const struct chr_copy_options *options,
                    struct chr_copy_report *report, struct chr_error *err)
{
    CLEANUP(change_release) struct change change = {0};
    struct edit_entry entry;

    *report = (struct chr_copy_report){0};
    if (begin_change(place, options, &change, err) < 0)
        return -1;
    if (side_stat(&change.session, change.side, place->path, &entry, err) < 0 ||
        check_kind(place, &entry, err) < 0 ||
        side_remove(&change.session, change.side, place->path, options->recursive, err) < 0)
        return err_context(err, "%s", place->image);
    report->files = entry.kind != FILE_FOLDER;
    report->folders = entry.kind == FILE_FOLDER;
    return end_change(&change, options, report, err);
}
