/*
 * chr_inject(): a configuration and files into an image.
 *
 *   read     the script's sources, and check them
 *   look     whether the image can be changed, and has no script that is in the way
 *   resolve  references: only now is anybody asked for a secret
 *   put      the script and the files into a session (session.h)
 *   finish   verified and written in one step; without it nothing was written
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "op/autorun.h"
#include "op/commit.h"
#include "op/place.h"

/* The router's own files, as it shows them in /file; on a CHR they are kept here. */
#define FILE_STORE "rw/disk"

struct injection {
    const struct chr_inject_options *options;
    struct chr_inject_report *report;
    struct chr_image *image;
    struct session session;
    struct autorun autorun;
    bool on_boot; /* what is being put now */
    struct shortage shortage; /* of the partition that it is put on */
    struct chr_error *err;
};

static void injection_release(struct injection *in)
{
    autorun_release(&in->autorun);
    shortage_release(&in->shortage);
    session_release(&in->session);
    chr_image_close(in->image);
}

void chr_inject_release(struct chr_inject_report *report)
{
    chr_lint_free(report->lint);
    free(report->script);
    for (size_t i = 0; i < report->count; i++)
        free(report->items[i].path);
    free(report->items);
    free(report->unused_sets);
    for (size_t i = 0; i < report->verbatim_count; i++)
        free(report->verbatim[i]);
    free(report->verbatim);
    *report = (struct chr_inject_report){0};
}

/* ---- putting ---- */

/* Whether NAME, a file of the host, is a script with references; what is not read is none. */
static bool has_references(const char *name)
{
    AUTO_SCRIPT struct rsc_script script = {0};
    AUTO_SECRET struct secret text = {0};
    const char *dot = strrchr(name, '.');
    struct chr_error ignored;
    unsigned flags;

    if (dot == NULL || strcasecmp(dot, ".rsc") != 0 ||
        rsc_read_source(name, &text, &flags, &ignored) < 0 || text.len == 0 ||
        rsc_script_add(&script, name, text.data, text.len, flags, NULL, &ignored) < 0)
        return false;
    for (size_t i = 0; i < script.edits.count; i++)
        if (script.edits.items[i].hidden)
            return true;
    return false;
}

/* A script for /import that was meant to be one of ours. */
static int note_verbatim(struct chr_inject_report *report, const struct packed *packed,
                         struct chr_error *err)
{
    if (packed->source == NULL || !has_references(packed->source))
        return 0;
    if (mem_grow(&report->verbatim, &report->verbatim_capacity, report->verbatim_count,
                 sizeof *report->verbatim, err) < 0)
        return -1;
    report->verbatim[report->verbatim_count] = mem_strdup(packed->source, err);
    if (report->verbatim[report->verbatim_count] == NULL)
        return -1;
    report->verbatim_count++;
    return 0;
}

static int add_item(void *context, const struct packed *packed, struct chr_error *err)
{
    struct injection *in = context;
    struct chr_inject_report *report = in->report;
    struct chr_injected *item;

    if (mem_grow(&report->items, &report->capacity, report->count, sizeof *report->items, err) < 0)
        return -1;
    item = &report->items[report->count];
    *item = (struct chr_injected){.on_boot = in->on_boot, .is_folder = packed->is_folder,
                                  .replaced = packed->replaced,
                                  .holds_values = packed->holds_values,
                                  .size = packed->holds_values ? 0 : packed->size,
                                  .mode = packed->mode, .path = mem_strdup(packed->path, err)};
    if (item->path == NULL)
        return -1;
    report->count++;
    return note_verbatim(report, packed, err);
}

/* The name that a file of the host has in the image, where none was given. */
static char *path_for(const struct chr_put *put, const char *folder, struct chr_error *err)
{
    AUTO_FREE char *source = mem_strdup(put->source, err);
    const char *given = put->path;
    size_t length = source != NULL ? strlen(source) : 0;
    const char *name;
    bool into;
    char *path;

    if (source == NULL)
        return NULL;
    while (length > 1 && source[length - 1] == '/')
        source[--length] = '\0';
    name = strrchr(source, '/') != NULL ? strrchr(source, '/') + 1 : source;
    into = given == NULL || given[0] == '\0' || given[strlen(given) - 1] == '/';
    path = mem_new(1, strlen(folder) + (given != NULL ? strlen(given) : 0) + length + 3, err);
    if (path != NULL)
        (void)sprintf(path, "%s/%s/%s", folder, given != NULL ? given : "", into ? name : "");
    return path;
}

static int put_all(struct injection *in, struct pack *pack, const struct chr_puts *puts,
                   const char *folder)
{
    for (size_t i = 0; i < puts->count; i++) {
        const struct chr_put *item = &puts->items[i];
        AUTO_FREE char *path = path_for(item, folder, in->err);

        if (path == NULL ||
            place_normalise(path, item->path != NULL ? item->path : item->source, path,
                            in->err) < 0)
            return -1;
        if (path[0] == '\0')
            return err_set(in->err, CHR_E_USAGE, "a path in an image is empty");
        if (pack_source(pack, item->source, path, in->err) == 0)
            continue;
        return in->err->code == CHR_E_EXISTS ? err_hint(in->err, "--replace replaces files") : -1;
    }
    return 0;
}

static struct pack packing(struct injection *in)
{
    return (struct pack){.session = &in->session, .recursive = true, .done = add_item,
                         .context = in, .shortage = &in->shortage,
                         .replace = in->options->existing == CHR_EXISTING_REPLACE};
}

static int put_on_root(struct injection *in)
{
    bool script = in->autorun.script.section_count > 0;
    struct pack pack = packing(in);

    if (!script && in->options->files.count + in->options->root.count == 0)
        return 0;
    if (session_side(&in->session, SESSION_ROOT, &pack.side, in->err) < 0 ||
        (script && autorun_put(&pack, &in->autorun, in->err) < 0) ||
        session_spill(&in->session, in->err) < 0 ||
        put_all(in, &pack, &in->options->files, FILE_STORE) < 0)
        return -1;
    pack.mode = in->options->mode;
    return put_all(in, &pack, &in->options->root, "") < 0
               ? -1
               : shortage_check(&in->shortage, &in->session, pack.side, in->err);
}

static int put_on_boot(struct injection *in)
{
    struct pack pack = packing(in);

    if (in->options->boot.count == 0)
        return 0;
    in->on_boot = true;
    if (session_side(&in->session, SESSION_BOOT, &pack.side, in->err) < 0 ||
        session_spill(&in->session, in->err) < 0 ||
        put_all(in, &pack, &in->options->boot, "") < 0)
        return -1;
    return shortage_check(&in->shortage, &in->session, pack.side, in->err);
}

static int by_path(const void *a, const void *b)
{
    const struct chr_injected *x = *(const struct chr_injected *const *)a;
    const struct chr_injected *y = *(const struct chr_injected *const *)b;

    return x->on_boot != y->on_boot ? x->on_boot - y->on_boot : strcmp(x->path, y->path);
}

/* The second would have replaced the first, which nobody means. */
static int check_twice(const struct chr_inject_report *report, struct chr_error *err)
{
    AUTO_FREE const struct chr_injected **items = mem_new(report->count, sizeof *items, err);

    if (items == NULL)
        return -1;
    for (size_t i = 0; i < report->count; i++)
        items[i] = &report->items[i];
    if (report->count > 1)
        qsort(items, report->count, sizeof *items, by_path);
    for (size_t i = 1; i < report->count; i++)
        if (by_path(&items[i - 1], &items[i]) == 0)
            return err_set(err, CHR_E_USAGE, "%s/%s is given twice",
                           items[i]->on_boot ? "boot:" : "", items[i]->path);
    return 0;
}

/* ---- the image ---- */

static int check_puts(const struct chr_puts *puts, struct chr_error *err)
{
    for (size_t i = 0; i < puts->count; i++) {
        if (puts->items[i].source[0] == '\0')
            return err_set(err, CHR_E_USAGE, "the name of a file to put is empty");
        if (access(puts->items[i].source, R_OK) < 0)
            return err_errno(err, errno, "cannot open %s", puts->items[i].source);
    }
    return 0;
}

/* Open the image; what can be refused without values is refused here. */
static int look(struct injection *in, const char *path)
{
    const struct chr_inject_options *options = in->options;
    struct pack pack = packing(in);

    if (chr_image_open(path, options->dry_run ? 0 : CHR_OPEN_WRITE, &in->image, in->err) < 0)
        return -1;
    in->report->recovered = in->image->recovered;
    if (commit_check(in->image, in->err) < 0)
        return in->image->format == CHR_FORMAT_ZIP || in->image->snapshot != NULL
                   ? err_hint(in->err, "chrimg convert makes an image of it that can be changed")
                   : -1;
    if (session_open(in->image, options->modified, &in->session, in->err) < 0 ||
        (options->boot.count > 0 &&
         session_side(&in->session, SESSION_BOOT, &pack.side, in->err) < 0))
        return -1;
    if (in->autorun.draft.section_count == 0)
        return 0;
    return session_side(&in->session, SESSION_ROOT, &pack.side, in->err) < 0
               ? -1
               : autorun_look(&pack, &in->autorun, in->err);
}

static int change(struct injection *in)
{
    if (put_on_root(in) < 0 || put_on_boot(in) < 0 || check_twice(in->report, in->err) < 0 ||
        session_finish(&in->session, !in->options->dry_run, &in->report->changed_bytes,
                       in->err) < 0)
        return -1;
    in->report->journal = in->session.journal;
    return 0;
}

/* ---- the whole ---- */

static int check_options(const struct chr_inject_options *options, struct chr_error *err)
{
    if (options->script_count == 0 && options->defaults == NULL && options->files.count == 0 &&
        options->root.count == 0 && options->boot.count == 0) {
        (void)err_set(err, CHR_E_USAGE, "nothing to inject");
        return err_hint(err, "name a script, or what to put: --file, --put, --boot");
    }
    return 0;
}

int chr_inject(const char *path, const struct chr_inject_options *options,
               struct chr_inject_report *report, struct chr_error *err)
{
    CLEANUP(injection_release) struct injection in = {
        .options = options, .report = report, .err = err};

    *report = (struct chr_inject_report){0};
    if (check_options(options, err) < 0 ||
        autorun_begin(options, &in.autorun, &report->lint, err) < 0 ||
        check_puts(&options->files, err) < 0 || check_puts(&options->root, err) < 0 ||
        check_puts(&options->boot, err) < 0)
        return -1;
    if (look(&in, path) < 0)
        return in.image != NULL ? err_context(err, "%s", path) : -1;
    if (autorun_resolve(&in.autorun, report, err) < 0)
        return -1;
    if (change(&in) < 0)
        return err_context(err, "%s", path);
    if (options->dry_run && in.autorun.script.section_count > 0) {
        report->script = rsc_script_mask(&in.autorun.script, err);
        return report->script != NULL ? 0 : -1;
    }
    return 0;
}

int chr_render(const struct chr_inject_options *options, struct chr_inject_report *report,
               chr_write_fn *write, void *context, struct chr_error *err)
{
    AUTO_AUTORUN struct autorun autorun = {0};

    *report = (struct chr_inject_report){0};
    if (autorun_begin(options, &autorun, &report->lint, err) < 0 ||
        autorun_resolve(&autorun, report, err) < 0)
        return -1;
    if (autorun.script.section_count == 0)
        return err_set(err, CHR_E_USAGE, "there is no script to render");
    return write(context, autorun.script.text.data, autorun.script.text.len, err);
}
