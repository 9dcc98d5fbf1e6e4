/* Scripts: sources under headings, one after the other. */
#include "rsc/script.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "rsc/template.h"
#include "rsc/text.h"

/* Read at once, also to see that a source is no disk image. */
int rsc_read_source(const char *name, struct secret *out, unsigned *flags,
                    struct chr_error *err)
{
    bool is_stdin = strcmp(name, "-") == 0;
    AUTO_CLOSE int opened = is_stdin ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    struct stat status;

    if (name[0] == '\0')
        return err_set(err, CHR_E_USAGE, "the name of a script is empty");
    if (!is_stdin && opened < 0)
        return err_errno(err, errno, "cannot open %s", name);
    if (fstat(is_stdin ? STDIN_FILENO : opened, &status) == 0 && S_ISDIR(status.st_mode)) {
        (void)err_set(err, CHR_E_USAGE, "%s is a folder, not a script",
                      is_stdin ? "standard input" : name);
        return err_hint(err, "name the scripts that are in it, in their order");
    }
    *flags = is_stdin || fstat(opened, &status) < 0 || !S_ISREG(status.st_mode) ? RSC_HIDDEN : 0;
    return secret_read(out, is_stdin ? STDIN_FILENO : opened, RSC_SIZE_MAX,
                       is_stdin ? "standard input" : name, err);
}

/* NAME as it may stand in a comment: one line, whatever the file is called. */
static int append_heading(struct secret *out, const char *name, struct chr_error *err)
{
    if (secret_append_text(out, "# from ", err) < 0)
        return -1;
    for (; *name != '\0'; name++) {
        bool safe = (unsigned char)*name >= 0x20 && *name != 0x7F && *name != '\\' &&
                    (unsigned char)*name < 0x80;

        if (secret_append(out, safe ? name : "?", 1, err) < 0)
            return -1;
    }
    return secret_append_text(out, "\n/\n", err);
}

/* NUL and UTF-16: an error, or a remark and question marks instead. */
static int check_text(struct rsc_script *script, struct rsc_section *section, bool strict,
                      struct chr_error *err)
{
    char *text = script->text.data + section->begin;
    size_t len = script->text.len - section->begin;
    const char *why;
    size_t off = rsc_text_unfit(text, len, &why);

    if (off == len)
        return 0;
    if (strict)
        return err_set(err, CHR_E_REFUSED, "%s:%zu: this is %s", section->name,
                       1 + rsc_text_lines(text, off), why);
    if (rsc_remark(&script->remarks, CHR_LINT_ERROR, text[off] == '\0' ? "nul-byte" : "not-utf-8",
                   section->begin + off, err, "this is %s", why) < 0)
        return -1;
    section->unfit = true;
    rsc_text_make_sound(text, len);
    return 0;
}

static int add_text(struct rsc_script *script, struct rsc_section *section, const char *text,
                    size_t len, struct rsc_resolver *resolver, struct chr_error *err)
{
    AUTO_SECRET struct secret clean = {0};
    struct rsc_text_changes changes;
    struct rsc_template source = {.name = section->name, .hidden = section->hidden};

    if (len > RSC_SIZE_MAX)
        return err_set(err, CHR_E_REFUSED, "%s is larger than %u KiB", section->name,
                       RSC_SIZE_MAX >> 10);
    if (append_heading(&script->text, section->name, err) < 0)
        return -1;
    section->begin = script->text.len;
    if (rsc_text_normalise(text, len, &clean, &changes, err) < 0)
        return -1;
    section->boms = changes.boms;
    section->first_bom_line = changes.first_bom_line;
    section->crlf_lines = changes.crlf_lines;
    section->first_crlf_line = changes.first_crlf_line;
    source.text = clean.data;
    source.len = clean.len;
    if (rsc_template_expand(&source, resolver, &script->text, &script->edits, &script->remarks,
                            err) < 0 ||
        check_text(script, section, resolver != NULL, err) < 0)
        return -1;
    section->end = script->text.len;
    if (script->text.data[section->end - 1] != '\n' &&
        secret_append(&script->text, "\n", 1, err) < 0)
        return -1;
    if (script->text.len > RSC_SIZE_MAX)
        return err_set(err, CHR_E_REFUSED, "with %s, the script is larger than %u KiB",
                       section->name, RSC_SIZE_MAX >> 10);
    return 0;
}

int rsc_script_add(struct rsc_script *script, const char *name, const char *text, size_t len,
                   unsigned flags, struct rsc_resolver *resolver, struct chr_error *err)
{
    struct rsc_section section = {
        .hidden = (flags & RSC_HIDDEN) != 0, .head = script->text.len};
    size_t edit_count = script->edits.count;
    size_t remark_count = script->remarks.count;

    section.name = mem_strdup(name, err);
    if (section.name == NULL)
        return -1;
    if (mem_grow(&script->sections, &script->section_capacity, script->section_count,
                 sizeof section, err) == 0 &&
        add_text(script, &section, text, len, resolver, err) == 0) {
        script->sections[script->section_count++] = section;
        return 0;
    }
    if (script->text.data != NULL)
        explicit_bzero(script->text.data + section.head, script->text.len - section.head);
    script->text.len = section.head;
    script->edits.count = edit_count;
    script->remarks.count = remark_count;
    free(section.name);
    return -1;
}

void rsc_script_release(struct rsc_script *script)
{
    secret_release(&script->text);
    for (size_t i = 0; i < script->section_count; i++)
        free(script->sections[i].name);
    free(script->sections);
    rsc_edits_release(&script->edits);
    rsc_remarks_release(&script->remarks);
    *script = (struct rsc_script){0};
}
