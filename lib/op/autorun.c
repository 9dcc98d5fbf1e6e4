/* The script of the first boot. */
#include "op/autorun.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "rsc/value.h"

/* What a refusal shows of a script that is there. */
#define SHOWN_LINES 3
#define SHOWN_LENGTH 70

/* ---- building ---- */

/* A script of the options, as it was read. */
struct autorun_source {
    const char *name;
    struct secret text;
    unsigned flags;
};

void autorun_release(struct autorun *autorun)
{
    for (size_t i = 0; i < autorun->source_count; i++)
        secret_release(&autorun->sources[i].text);
    free(autorun->sources);
    rsc_script_release(&autorun->draft);
    rsc_script_release(&autorun->script);
    *autorun = (struct autorun){0};
}

static bool is_blank(const struct secret *text)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] != '\0' && !isspace((unsigned char)text->data[i]))
            return false;
    return true;
}

/* Whether there is more than a byte order mark and blanks in it, or also more than comments. */
static bool has_text(const struct secret *text, bool but_comments)
{
    bool comment = false;
    bool begins = true; /* nothing but blanks on this line yet */
    bool mark = text->len >= 3 && memcmp(text->data, "\xEF\xBB\xBF", 3) == 0;

    for (size_t i = mark ? 3 : 0; i < text->len; i++) {
        char c = text->data[i];

        comment = but_comments && c != '\n' && (comment || (begins && c == '#'));
        if (!comment && !isspace((unsigned char)c))
            return true;
        begins = c == '\n' || (begins && isspace((unsigned char)c));
    }
    return false;
}

/* All are read before anything is asked for; what a failed program left in a pipe is no script. */
static int read_sources(struct autorun *autorun, struct chr_error *err)
{
    const struct chr_inject_options *options = autorun->options;
    bool commands = options->defaults != NULL || options->script_count == 0;

    autorun->sources = mem_new(options->script_count, sizeof *autorun->sources, err);
    if (autorun->sources == NULL)
        return -1;
    for (size_t i = 0; i < options->script_count; i++) {
        struct autorun_source *source = &autorun->sources[autorun->source_count++];
        const char *name = options->scripts[i];

        if (rsc_read_source(name, &source->text, &source->flags, err) < 0)
            return err->code == CHR_E_REFUSED
                       ? err_hint(err, "is it a script? The image is named first, and with "
                                       "--render not at all") : -1;
        source->name = strcmp(name, "-") == 0 ? "<stdin>" : name;
        if ((source->flags & RSC_HIDDEN) != 0 && !has_text(&source->text, false)) {
            (void)err_set(err, CHR_E_REFUSED, "%s: there is no script, only an empty stream",
                          source->name);
            return err_hint(err, "did the program fail that should have written it?");
        }
        commands = commands || has_text(&source->text, true);
    }
    if (commands)
        return 0;
    return err_set(err, CHR_E_REFUSED, "%s: there is no command in it%s",
                   autorun->sources[0].name, autorun->source_count > 1 ? ", nor in the scripts after it" : "");
}

/* Whether what failed is but a reference without a value: the next source may have more. */
static bool only_noted(const struct rsc_resolver *resolver, size_t before)
{
    return resolver != NULL && resolver->faults.count > before;
}

/* Defaults and sources into SCRIPT; without RESOLVER placeholders stand for values. */
static int add_all(const struct autorun *autorun, struct rsc_script *script,
                   struct rsc_resolver *resolver, struct chr_error *err)
{
    const struct chr_inject_options *options = autorun->options;

    if (options->defaults != NULL &&
        rsc_script_add_defaults(script, options->defaults, resolver, err) < 0 &&
        !only_noted(resolver, 0))
        return -1;
    for (size_t i = 0; i < autorun->source_count; i++) {
        const struct autorun_source *source = &autorun->sources[i];
        size_t before = resolver != NULL ? resolver->faults.count : 0;

        if (rsc_script_add(script, source->name,
                           source->text.data != NULL ? source->text.data : "", source->text.len,
                           source->flags, resolver, err) < 0 &&
            !only_noted(resolver, before))
            return -1;
    }
    return resolver != NULL ? rsc_resolver_report(resolver, err) : 0;
}

/* Whether values get into the script, or should have. */
static bool has_references(const struct rsc_script *draft)
{
    for (size_t i = 0; i < draft->edits.count; i++)
        if (draft->edits.items[i].hidden)
            return true;
    for (size_t i = 0; i < draft->remarks.count; i++)
        if (strcmp(draft->remarks.items[i].id, "bad-reference") == 0)
            return true;
    return false;
}

/* Whether there are NUL bytes or UTF-16 in it: the draft is not what was given then. */
static bool is_unfit(const struct rsc_script *draft)
{
    for (size_t i = 0; i < draft->section_count; i++)
        if (draft->sections[i].unfit)
            return true;
    return false;
}

/*
 * Errors of the check.  The router is the last judge, so the options may let them pass;
 * but where the nesting is in doubt, nobody knows what would keep a value in its string.
 */
static int take_errors(const struct autorun *autorun, size_t errors, struct chr_error *err)
{
    bool references = has_references(&autorun->draft);
    bool pass = autorun->options->lint == CHR_INJECT_LINT_WARN;
    const char *s = errors == 1 ? "" : "s";

    if (is_unfit(&autorun->draft))
        return err_set(err, CHR_E_REFUSED, "the script has %zu error%s and is no text that a "
                       "router could read, so nothing was written", errors, s);
    if (pass && !references)
        return 0;
    if (pass) {
        (void)err_set(err, CHR_E_REFUSED, "the script has %zu error%s and references, whose values "
                      "cannot be quoted safely in code that is not understood, so nothing was "
                      "written", errors, s);
        return err_hint(err, "put the errors right; --lint warn lets them pass only without {{ }}");
    }
    (void)err_set(err, CHR_E_REFUSED, "the script has %zu error%s, so nothing was written", errors, s);
    return err_hint(err, references ? "--lint warn would let them pass only without {{ }}"
                                    : "if RouterOS takes it all the same: --lint warn");
}

/* *LINT is set anew. */
static int check(const struct autorun *autorun, const struct rsc_script *script,
                 struct chr_lint_report **lint, struct chr_error *err)
{
    chr_lint_free(*lint);
    *lint = NULL;
    if (script->section_count == 0)
        return 0;
    if (rsc_script_lint(script, lint, err) < 0)
        return -1;
    return (*lint)->errors == 0 ? 0 : take_errors(autorun, (*lint)->errors, err);
}

/* A key that no reference can be would give nothing its value. */
static int check_keys(const struct chr_template_options *templates, struct chr_error *err)
{
    for (size_t i = 0; i < templates->set_count; i++) {
        const char *key = templates->sets[i].key;

        if (strchr(key, ':') == NULL && rsc_reference_check(key, err) == 0)
            continue;
        (void)err_set(err, CHR_E_USAGE, "--set: %.100s can be no key", key);
        return err_hint(err, "one begins with a letter or '_'; letters, digits, '-', '.' and '_' follow");
    }
    return 0;
}

int autorun_begin(const struct chr_inject_options *options, struct autorun *autorun,
                  struct chr_lint_report **lint, struct chr_error *err)
{
    size_t stdins = 0;

    for (size_t i = 0; i < options->script_count; i++)
        stdins += strcmp(options->scripts[i], "-") == 0;
    if (stdins > 1)
        return err_set(err, CHR_E_USAGE, "standard input can be read once only");
    autorun->options = options;
    if (check_keys(&options->templates, err) < 0 || read_sources(autorun, err) < 0 ||
        add_all(autorun, &autorun->draft, NULL, err) < 0 ||
        check(autorun, &autorun->draft, lint, err) < 0)
        return -1;
    autorun->faulty = *lint != NULL && (*lint)->errors > 0;
    return 0;
}

/* A key that is spelled differently from the script's: the script then has no value, or an old
 * one by env://. */
static int note_unused_sets(const struct chr_template_options *templates,
                            const struct rsc_resolver *resolver, struct chr_inject_report *report,
                            struct chr_error *err)
{
    report->unused_sets = mem_new(templates->set_count, sizeof *report->unused_sets, err);
    if (report->unused_sets == NULL)
        return -1;
    for (size_t i = 0; i < templates->set_count; i++) {
        bool used = false;

        for (size_t k = 0; k < resolver->count && !used; k++)
            used = strcmp(resolver->values[k].reference, templates->sets[i].key) == 0;
        if (!used)
            report->unused_sets[report->unused_set_count++] = templates->sets[i].key;
    }
    return 0;
}

int autorun_resolve(struct autorun *autorun, struct chr_inject_report *report,
                    struct chr_error *err)
{
    const struct chr_template_options *templates = &autorun->options->templates;
    AUTO_RESOLVER struct rsc_resolver resolver = {.options = templates};

    /* What is faulty has no references, and is taken as the draft was. */
    if (add_all(autorun, &autorun->script, autorun->faulty ? NULL : &resolver, err) < 0 ||
        note_unused_sets(templates, &resolver, report, err) < 0)
        return -1;
    return check(autorun, &autorun->script, &report->lint, err);
}

/* ---- what is there ---- */

/* The script as it was before this session; *THERE is whether there is one. */
static int read_existing(const struct pack *pack, struct secret *text, bool *there,
                         struct chr_error *err)
{
    const struct file_node *node = NULL;
    struct edit_entry entry;

    *there = side_stat(pack->session, pack->side, AUTORUN_PATH, &entry, err) == 0;
    if (!*there)
        return err->code == CHR_E_MISSING ? 0 : -1;
    if (entry.kind != FILE_REGULAR) {
        (void)err_set(err, CHR_E_REFUSED, "/" AUTORUN_PATH " is %s, not a file",
                      entry.kind == FILE_FOLDER ? "a folder" : "a link or a device");
        return err_hint(err, "chrimg rm%s IMG:/" AUTORUN_PATH " removes it",
                        entry.kind == FILE_FOLDER ? " -r" : "");
    }
    if (entry.size > RSC_SIZE_MAX)
        return err_set(err, CHR_E_REFUSED, "/" AUTORUN_PATH " has %" PRIu64 " bytes, more than a "
                       "script can have", entry.size);
    for (size_t i = 1; node == NULL && i < pack->side->before.count; i++)
        if (strcmp(pack->side->before.nodes[i].path, AUTORUN_PATH) == 0)
            node = &pack->side->before.nodes[i];
    if (node == NULL || node->size != entry.size)
        return err_set(err, CHR_E_INTERNAL, "/" AUTORUN_PATH " is read in two ways");
    if (node->size == 0)
        return 0;
    if (secret_reserve(text, (size_t)node->size, err) < 0)
        return -1;
    text->len = (size_t)node->size;
    return file_read(pack->side->window, node, 0, text->data, text->len, err);
}

/* How many bytes of LINE are words of a menu: "/ip address add"; 0: it may be anything. */
static size_t menu_length(const char *line, size_t length)
{
    size_t end = 0;

    if (length == 0 || line[0] != '/')
        return 0;
    for (size_t i = 0; i < length; i++) {
        if (line[i] == ' ')
            end = i;
        else if (!islower((unsigned char)line[i]) && !isdigit((unsigned char)line[i]) &&
                 line[i] != '-' && line[i] != '/')
            return end;
    }
    return length;
}

/* A line as it may be shown: all that could be a password, or a part of one, is ***.
 * Comments and lines without a command are "". */
static void mask_line(const char *line, size_t length, char *out, size_t size)
{
    size_t shown;

    while (length > 0 && isspace((unsigned char)*line)) {
        line++;
        length--;
    }
    shown = menu_length(line, length);
    out[0] = '\0';
    if (length == 0 || line[0] == '#' || (length == 1 && line[0] == '/'))
        return;
    (void)snprintf(out, size, "%.*s%s%s", (int)min_u64(shown, size - 8), line,
                   shown > 0 && shown < length ? " " : "", shown < length ? "***" : "");
}

static int refuse_existing(const struct secret *text, struct chr_error *err)
{
    char lines[SHOWN_LINES * (SHOWN_LENGTH + 4)] = "";
    size_t shown = 0;
    size_t used = 0;

    for (size_t at = 0; at < text->len && shown < SHOWN_LINES; at++) {
        const char *end = memchr(text->data + at, '\n', text->len - at);
        size_t length = end != NULL ? (size_t)(end - text->data) - at : text->len - at;
        char masked[SHOWN_LENGTH];

        mask_line(text->data + at, length, masked, sizeof masked);
        at += length;
        if (masked[0] == '\0')
            continue;
        used += (size_t)snprintf(lines + used, sizeof lines - used, "\n  %s", masked);
        shown++;
    }
    if (shown == 0)
        (void)err_set(err, CHR_E_EXISTS, "/" AUTORUN_PATH " has comments already");
    else
        (void)err_set(err, CHR_E_EXISTS, "/" AUTORUN_PATH " has commands already, which begin:%s",
                      lines);
    return err_hint(err, "--append puts the new ones behind them, --replace instead of them");
}

/* ---- putting ---- */

/* The first error that lint found: where and of what kind, but nothing of the text. */
static int refuse_faulty(const struct chr_lint_report *lint, struct chr_error *err)
{
    const struct chr_lint_finding *first = lint->findings;

    while (first->severity != CHR_LINT_ERROR)
        first++;
    (void)err_set(err, CHR_E_REFUSED, "/" AUTORUN_PATH " has errors, the first in line %zu, column "
                  "%zu (%s), so nothing is put behind it", first->line, first->column, first->id);
    return err_hint(err, "look at it with chrimg cat; --replace puts the new commands instead");
}

/* What is open at the end of the old script would swallow the new one. */
static int check_appendable(const struct secret *text, struct chr_error *err)
{
    AUTO_SCRIPT struct rsc_script script = {0};
    struct chr_lint_report *lint = NULL;
    int result;

    if (rsc_script_add(&script, AUTORUN_PATH, text->data, text->len, RSC_HIDDEN, NULL, err) < 0 ||
        rsc_script_lint(&script, &lint, err) < 0)
        return -1;
    result = lint->errors > 0 ? refuse_faulty(lint, err) : 0;
    chr_lint_free(lint);
    return result;
}

/* Whether the last lines of TEXT are SCRIPT. */
static bool ends_with(const struct secret *text, const struct secret *script)
{
    size_t before = text->len - script->len;

    return text->len >= script->len &&
           memcmp(text->data + before, script->data, script->len) == 0 &&
           (before == 0 || text->data[before - 1] == '\n');
}

static int append(const struct pack *pack, const struct secret *old,
                  const struct rsc_script *script, struct chr_error *err)
{
    AUTO_SECRET struct secret both = {0};

    if (check_appendable(old, err) < 0 || secret_append(&both, old->data, old->len, err) < 0 ||
        (old->data[old->len - 1] != '\n' && secret_append_text(&both, "\n", err) < 0) ||
        secret_append(&both, script->text.data, script->text.len, err) < 0)
        return -1;
    return pack_bytes(pack, both.data, both.len, AUTORUN_PATH, err);
}

/* Whether TEXT may be what DRAFT becomes: between its values, it is the same. */
static bool may_be(const struct secret *text, const struct rsc_script *draft)
{
    size_t from = 0; /* in DRAFT */
    size_t at = 0;   /* in TEXT */

    for (size_t i = 0; i < draft->edits.count; i++) {
        const struct rsc_edit *value = &draft->edits.items[i];
        const char *found;

        if (!value->hidden)
            continue;
        found = memmem(text->data + at, text->len - at, draft->text.data + from, value->off - from);
        if (found == NULL || (from == 0 && found != text->data))
            return false;
        at = (size_t)(found - text->data) + value->off - from;
        from = value->off + value->len;
    }
    return (from == 0 ? text->len == draft->text.len
                      : text->len - at >= draft->text.len - from) &&
           memcmp(text->data + text->len - (draft->text.len - from), draft->text.data + from,
                  draft->text.len - from) == 0;
}

int autorun_look(const struct pack *pack, const struct autorun *autorun, struct chr_error *err)
{
    AUTO_SECRET struct secret old = {0};
    bool there;

    if (read_existing(pack, &old, &there, err) < 0)
        return -1;
    if (is_blank(&old) || may_be(&old, &autorun->draft))
        return 0;
    return autorun->options->existing == CHR_EXISTING_REFUSE   ? refuse_existing(&old, err)
           : autorun->options->existing == CHR_EXISTING_APPEND ? check_appendable(&old, err)
                                                               : 0;
}

int autorun_put(const struct pack *pack, const struct autorun *autorun, struct chr_error *err)
{
    const struct rsc_script *script = &autorun->script;
    enum chr_existing existing = autorun->options->existing;
    AUTO_SECRET struct secret old = {0};
    struct pack replace = *pack;
    bool there;

    replace.replace = true;
    replace.holds_values = rsc_is_hidden(script, 0, script->text.len);
    if (read_existing(pack, &old, &there, err) < 0)
        return -1;
    if (old.len == script->text.len && memcmp(old.data, script->text.data, old.len) == 0)
        return 0;
    if (!is_blank(&old) && existing == CHR_EXISTING_REFUSE)
        return refuse_existing(&old, err);
    if (!is_blank(&old) && existing == CHR_EXISTING_APPEND) {
        replace.holds_values = true; /* the old ones may, as nobody knows */
        if (ends_with(&old, &script->text)) /* it was appended before */
            return 0;
        return append(&replace, &old, script, err);
    }
    return pack_bytes(&replace, script->text.data, script->text.len, AUTORUN_PATH, err);
}
