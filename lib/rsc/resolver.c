/* References: their forms, and where the values come from. */
#include "rsc/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "rsc/child.h"

/* A configuration asks for a few; each may start a program. */
#define VALUES_MAX 1024
#define REFERENCE_MAX 1024
#define LINES_SIZE 900 /* of a message, for what has no value */

enum scheme { SCHEME_KEY, SCHEME_ENV, SCHEME_FILE, SCHEME_OP, SCHEME_CMD, SCHEME_UNKNOWN };

static const char *const prefixes[] = {
    [SCHEME_ENV] = "env://", [SCHEME_FILE] = "file://", [SCHEME_OP] = "op://",
    [SCHEME_CMD] = "cmd://",
};

/* *REST is what stands behind the scheme. */
static enum scheme scheme_of(const char *reference, const char **rest)
{
    *rest = reference;
    for (enum scheme scheme = SCHEME_ENV; scheme <= SCHEME_CMD; scheme++) {
        size_t length = strlen(prefixes[scheme]);

        if (strncmp(reference, prefixes[scheme], length) == 0) {
            *rest = reference + length;
            return scheme;
        }
    }
    return strchr(reference, ':') != NULL ? SCHEME_UNKNOWN : SCHEME_KEY;
}

static bool is_name(const char *text, const char *also)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";

    if (text[0] == '\0' || strchr(letters, text[0]) == NULL)
        return false;
    for (; *text != '\0'; text++)
        if (strchr(letters, *text) == NULL && strchr("0123456789", *text) == NULL &&
            strchr(also, *text) == NULL)
            return false;
    return true;
}

/* vault/item/field or vault/item/section/field, none of them empty. */
static bool is_op_path(const char *path)
{
    unsigned parts = 1;

    if (path[0] == '\0' || path[0] == '/' || path[strlen(path) - 1] == '/' ||
        strstr(path, "//") != NULL)
        return false;
    for (const char *p = path; *p != '\0' && *p != '?'; p++)
        parts += *p == '/';
    return parts == 3 || parts == 4;
}

static int wrong(struct chr_error *err, const char *reference, const char *form)
{
    (void)err_set(err, CHR_E_REFUSED, "{{ %.200s }} is not a reference", reference);
    return err_hint(err, "%s", form);
}

int rsc_reference_check(const char *reference, struct chr_error *err)
{
    const char *rest;

    if (strlen(reference) > REFERENCE_MAX)
        return wrong(err, reference, "it is too long");
    if (reference[strcspn(reference, RSC_NOT_IN_REFERENCE)] != '\0')
        return wrong(err, reference, "none of {}\";$\\ and no control characters can be in one");
    switch (scheme_of(reference, &rest)) {
    case SCHEME_KEY:
        return is_name(rest, "-.") ? 0
               : wrong(err, reference, "a key for --set has letters, digits, '-', '.' and '_'");
    case SCHEME_ENV:
        return is_name(rest, "") ? 0 : wrong(err, reference, "environment: {{ env://NAME }}");
    case SCHEME_FILE:
        return rest[0] == '/' && rest[1] != '\0'
                   ? 0 : wrong(err, reference, "files: {{ file:///PATH }}, with the full path");
    case SCHEME_OP:
        return is_op_path(rest) ? 0
               : wrong(err, reference, "1Password: {{ op://VAULT/ITEM/FIELD }}");
    case SCHEME_CMD:
        return is_name(rest, "-.") ? 0
               : wrong(err, reference, "programs: {{ cmd://NAME }} and --allow-cmd NAME=PROGRAM");
    default:
        return wrong(err, reference, "there are env://, file://, op://, cmd:// and keys of --set");
    }
}

static const char *find_pair(const struct chr_pair *pairs, size_t count, const char *key)
{
    /* The last one counts, as with options everywhere. */
    while (count-- > 0)
        if (strcmp(pairs[count].key, key) == 0)
            return pairs[count].value;
    return NULL;
}

static int from_set(const struct chr_template_options *options, const char *key,
                    struct secret *out, struct chr_error *err)
{
    const char *value = options == NULL ? NULL : find_pair(options->sets, options->set_count, key);

    if (value == NULL) {
        (void)err_set(err, CHR_E_MISSING, "{{ %s }} has no value", key);
        return err_hint(err, "--set %s=VALUE gives one", key);
    }
    return secret_append_text(out, value, err);
}

static int from_environment(const char *reference, const char *name, struct secret *out,
                            struct chr_error *err)
{
    const char *value = getenv(name);

    if (value == NULL) {
        (void)err_set(err, CHR_E_MISSING, "{{ %s }}: %s is not in the environment", reference,
                      name);
        return err_hint(err, "export %s puts a variable of the shell there", name);
    }
    return secret_append_text(out, value, err);
}

static int from_file(const char *reference, const char *path, struct secret *out,
                     struct chr_error *err)
{
    /* Not to hang on a FIFO that nobody writes to. */
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;

    if (fd < 0)
        return err_errno(err, errno, "{{ %s }}: cannot open it", reference);
    if (fstat(fd, &status) < 0)
        return err_errno(err, errno, "{{ %s }}: cannot look at it", reference);
    if (!S_ISREG(status.st_mode))
        return err_set(err, CHR_E_REFUSED, "{{ %s }}: is not a file", reference);
    if (secret_read(out, fd, RSC_VALUE_MAX, "it", err) < 0)
        return err_context(err, "{{ %s }}", reference);
    return 0;
}

static int from_one_password(const char *reference, struct secret *out, struct chr_error *err)
{
    char reference_copy[REFERENCE_MAX + 1];
    char *const argv[] = {"op", "read", "--no-newline", reference_copy, NULL};

    memcpy(reference_copy, reference, strlen(reference) + 1);
    if (rsc_capture(argv, RSC_VALUE_MAX, out, err) == 0)
        return 0;
    if (err->code == CHR_E_MISSING)
        (void)err_hint(err, "op is the command-line tool of 1Password");
    return err_context(err, "{{ %s }}", reference);
}

static int from_program(const struct chr_template_options *options, const char *reference,
                        const char *name, struct secret *out, struct chr_error *err)
{
    const char *program =
        options == NULL ? NULL : find_pair(options->allow_cmds, options->allow_cmd_count, name);
    AUTO_FREE char *copy = NULL;

    if (program == NULL) {
        (void)err_set(err, CHR_E_REFUSED, "{{ %s }}: no program is allowed for it", reference);
        return err_hint(err, "--allow-cmd %s=PROGRAM allows one", name);
    }
    copy = mem_strdup(program, err);
    if (copy == NULL)
        return -1;
    if (rsc_capture((char *const[]){copy, NULL}, RSC_VALUE_MAX, out, err) < 0)
        return err_context(err, "{{ %s }}", reference);
    return 0;
}

/* Editors and echo end a line; a password that ends with one is not meant. */
static void drop_newline(struct secret *value)
{
    if (value->len == 0 || value->data[value->len - 1] != '\n')
        return;
    value->len--;
    if (value->len > 0 && value->data[value->len - 1] == '\r')
        value->len--;
}

static int fetch(const struct rsc_resolver *resolver, const char *reference, struct secret *out,
                 struct chr_error *err)
{
    const char *rest;
    enum scheme scheme = scheme_of(reference, &rest);
    int result = scheme == SCHEME_KEY ? from_set(resolver->options, rest, out, err)
                 : scheme == SCHEME_ENV ? from_environment(reference, rest, out, err)
                 : scheme == SCHEME_FILE ? from_file(reference, rest, out, err)
                 : scheme == SCHEME_OP ? from_one_password(reference, out, err)
                                       : from_program(resolver->options, reference, rest, out, err);

    if (result < 0)
        return -1;
    if (scheme == SCHEME_FILE || scheme == SCHEME_CMD)
        drop_newline(out);
    if (out->len == 0 && scheme != SCHEME_KEY)
        return err_set(err, CHR_E_REFUSED, "{{ %s }} is empty", reference);
    if (out->len > RSC_VALUE_MAX)
        return err_set(err, CHR_E_REFUSED, "{{ %s }} is longer than %u KiB", reference,
                       RSC_VALUE_MAX >> 10);
    if (out->len > 0 && memchr(out->data, '\0', out->len) != NULL)
        return err_set(err, CHR_E_REFUSED, "{{ %s }} holds a NUL byte", reference);
    return 0;
}

int rsc_resolve(struct rsc_resolver *resolver, const char *reference,
                const struct secret **out, struct chr_error *err)
{
    struct rsc_value value = {0};

    for (size_t i = 0; i < resolver->count; i++)
        if (strcmp(resolver->values[i].reference, reference) == 0) {
            *out = &resolver->values[i].bytes;
            return 0;
        }
    if (resolver->count == VALUES_MAX)
        return err_set(err, CHR_E_REFUSED, "more than %d different references", VALUES_MAX);
    if (rsc_reference_check(reference, err) < 0 ||
        mem_grow(&resolver->values, &resolver->capacity, resolver->count, sizeof value, err) < 0 ||
        fetch(resolver, reference, &value.bytes, err) < 0 ||
        (value.reference = mem_strdup(reference, err)) == NULL) {
        secret_release(&value.bytes);
        return -1;
    }
    resolver->values[resolver->count++] = value;
    *out = &resolver->values[resolver->count - 1].bytes;
    return 0;
}

/* ---- what has no value ---- */

int rsc_resolver_note(struct rsc_resolver *resolver, struct chr_error *err)
{
    struct rsc_faults *faults = &resolver->faults;

    if (err->code == CHR_E_MEMORY)
        return -1;
    if (faults->count == 0) {
        faults->code = err->code;
        memcpy(faults->hint, err->hint, sizeof faults->hint);
    }
    faults->mixed = faults->mixed || strcmp(faults->hint, err->hint) != 0;
    if (faults->count < RSC_FAULTS_SHOWN) {
        faults->lines[faults->count] = mem_strdup(err->message, err);
        if (faults->lines[faults->count] == NULL)
            return -1;
    }
    faults->count++;
    return 0;
}

bool rsc_resolver_spares(const struct rsc_resolver *resolver, const char *reference)
{
    const char *rest;
    enum scheme scheme = scheme_of(reference, &rest);

    return resolver->faults.count > 0 && (scheme == SCHEME_OP || scheme == SCHEME_CMD);
}

int rsc_resolver_report(const struct rsc_resolver *resolver, struct chr_error *err)
{
    const struct rsc_faults *faults = &resolver->faults;
    size_t shown = faults->count < RSC_FAULTS_SHOWN ? faults->count : RSC_FAULTS_SHOWN;
    char lines[LINES_SIZE] = "";
    char more[40] = "";
    size_t used = 0;

    if (faults->count == 0)
        return 0;
    if (faults->count == 1) {
        (void)err_set(err, faults->code, "%s", faults->lines[0]);
        return err_hint(err, "%s", faults->hint);
    }
    for (size_t i = 0; i < shown; i++)
        used += (size_t)snprintf(lines + used, sizeof lines - used, "\n  %.*s",
                                 (int)(LINES_SIZE / shown - 4), faults->lines[i]);
    if (shown < faults->count)
        (void)snprintf(more, sizeof more, "\n  and %zu more", faults->count - shown);
    (void)err_set(err, faults->code, "%zu references have no value:%s%s", faults->count, lines,
                  more);
    return err_hint(err, "%s", faults->mixed ? "--set KEY=VALUE is for keys, and what env:// names "
                                               "must be exported" : faults->hint);
}

void rsc_resolver_release(struct rsc_resolver *resolver)
{
    for (size_t i = 0; i < resolver->count; i++) {
        secret_release(&resolver->values[i].bytes);
        free(resolver->values[i].reference);
    }
    for (size_t i = 0; i < RSC_FAULTS_SHOWN; i++)
        free(resolver->faults.lines[i]);
    free(resolver->values);
    *resolver = (struct rsc_resolver){0};
}
