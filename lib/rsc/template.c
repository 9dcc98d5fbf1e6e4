/* Replacing references, with the lexer's help. */
#include "rsc/template.h"

#include <stdlib.h>
#include <string.h>

#include "rsc/code_text.h"
#include "rsc/quote.h"
#include "rsc/scan.h"
#include "rsc/text.h"

static const char bad_reference[] = "bad-reference";
static const char no_part[] =
    "a reference cannot be a part of this word; put the whole value in quotes";

/* What stands right before the next unit of a string. */
enum string_before { PLAIN_TEXT, DOLLAR, VARIABLE, BAD_ESCAPE };

struct expander {
    const struct rsc_template *source;
    struct rsc_resolver *resolver;
    struct secret *out;
    struct rsc_edits *edits;
    struct rsc_remarks *remarks;
    struct chr_error *err;
    struct rsc_scanner scanner;
    struct rsc_code_text code;
    size_t value_begin;    /* in OUT: where the value in code that is being read begins */
    bool value_plain;      /* it can be put in quotes as it stands */
    bool own_quote;        /* it was: a string of ours is open */
    enum string_before before;
    bool line_goes_on;     /* the last unit was a continuation */
    bool own_quote_cut;    /* and the word before was a value in a quote of ours */
    bool line_in_doubt;    /* a line before may have ended this statement, or not */
};

/* ---- errors ---- */

/* What is wrong at OFF of the source: an error, or a remark when there is no resolver. */
static int fault(struct expander *expander, size_t off, const char *text, const char *hint)
{
    struct chr_error *err = expander->err;
    size_t line;

    if (expander->resolver == NULL)
        return rsc_remark(expander->remarks, CHR_LINT_ERROR, bad_reference, expander->out->len,
                          err, "%s%s%s", text, hint[0] != '\0' ? "; " : "", hint);
    line = 1 + rsc_text_lines(expander->source->text, off);
    (void)err_set(err, CHR_E_REFUSED, "%s:%zu: %s", expander->source->name, line, text);
    return hint[0] != '\0' ? err_hint(err, "%s", hint) : -1;
}

/* ---- output ---- */

static int append(struct expander *expander, const char *bytes, size_t len)
{
    return secret_append(expander->out, bytes, len, expander->err);
}

/* A quote that the source has not. */
static int put_quote(struct expander *expander, size_t off)
{
    struct rsc_edit edit = {.off = off, .len = 1, .source_len = 0, .hidden = false};

    if (secret_insert(expander->out, off, "\"", 1, expander->err) < 0)
        return -1;
    return rsc_edits_add(expander->edits, edit, expander->err);
}

static int end_own_quote(struct expander *expander)
{
    expander->own_quote = false;
    return put_quote(expander, expander->out->len);
}

/* ---- references ---- */

struct reference {
    size_t off; /* of {{ */
    size_t len; /* up to the end of }} */
    char *text; /* without braces and blanks around it; NULL: it is broken, and that is said */
};

static void reference_release(struct reference *reference)
{
    free(reference->text);
}

static bool looks_like_scheme(const char *text, size_t len)
{
    size_t letters = 0;

    while (letters < len && text[letters] >= 'a' && text[letters] <= 'z')
        letters++;
    return letters > 0 && len - letters > 3 && memcmp(text + letters, "://", 3) == 0;
}

/* What may be meant as a blank between the braces and the reference. */
static size_t skip_white(const char *text, size_t len, size_t at)
{
    while (at < len && text[at] != '\0' &&
           (strchr(" \t\r\n", text[at]) != NULL ||
            (text[at] == '\\' && at + 1 < len && text[at + 1] == '\n')))
        at++;
    return at;
}

/* Whether }} follows the reference, which ends at AT, on a later line. */
static bool has_end(const char *text, size_t len, size_t at)
{
    at = skip_white(text, len, at);
    return len - at >= 2 && memcmp(text + at, "}}", 2) == 0;
}

/*
 * Whether the LEN bytes at TEXT, behind "{{", are a reference but for tabs and ends of
 * lines.  A key alone is one in a string; in code {{ and a word are blocks, it may be.
 */
static bool is_over_lines(const struct expander *expander, const char *text, size_t len)
{
    size_t begin = skip_white(text, len, 0);
    size_t end = begin;

    while (end < len && text[end] != ' ' && text[end] != '\0' &&
           strchr(RSC_NOT_IN_REFERENCE, text[end]) == NULL)
        end++;
    if (looks_like_scheme(text + begin, end - begin))
        return true;
    if (end == begin || !rsc_scan_in_string(&expander->scanner))
        return false;
    return has_end(text, len, end);
}

/*
 * The reference that begins at OFF, where "{{" is; reference->len is 0 when it is none.
 * A broken one is a fault.
 */
static int find_reference(struct expander *expander, size_t off, struct reference *reference)
{
    const char *text = expander->source->text + off + 2;
    size_t rest = expander->source->len - off - 2;
    size_t begin = 0;
    size_t end = 0;

    while (end < rest && text[end] != '\0' && strchr(RSC_NOT_IN_REFERENCE, text[end]) == NULL)
        end++;
    while (begin < end && text[begin] == ' ')
        begin++;
    if (rest - end < 2 || text[end] != '}' || text[end + 1] != '}') {
        if (looks_like_scheme(text + begin, end - begin)) {
            /* Lint passes over it: its braces would be open. */
            reference->len = has_end(text, rest, end) ? 0 : end + 2 + (end < rest && text[end] == '}');
            return fault(expander, off, "this reference does not end with }} on its line", "");
        }
        if (is_over_lines(expander, text, rest))
            return fault(expander, off, "a reference stands on one line, with blanks alone in it",
                         "as {{ env://NAME }}");
        return 0;
    }
    reference->off = off;
    reference->len = end + 4;
    while (end > begin && text[end - 1] == ' ')
        end--;
    reference->text = strndup(text + begin, end - begin);
    return reference->text != NULL ? 0
           : err_set(expander->err, CHR_E_MEMORY, "out of memory for a reference");
}

/* In a hidden source, braces may be a part of a secret that is there already. */
static int hide_reference(struct chr_error *err)
{
    (void)err_set(err, err->code, "a reference here has no value that can be used");
    return err_hint(err, "this source is hidden; a reference in a file would be named");
}

/* What is wrong with a reference, to be said where it stands; its text may go on. */
static int reference_fault(struct expander *expander, const struct reference *reference)
{
    struct chr_error *err = expander->err;
    struct chr_error reason = *err;

    if (expander->source->hidden)
        (void)hide_reference(&reason);
    if (expander->resolver == NULL)
        return fault(expander, reference->off, reason.message, reason.hint);
    *err = reason;
    (void)err_context(err, "%s:%zu", expander->source->name,
                      1 + rsc_text_lines(expander->source->text, reference->off));
    return rsc_resolver_note(expander->resolver, err);
}

/* The value; a placeholder without a resolver or without a value, so that the rest can be read. */
static int value_of(struct expander *expander, const struct reference *reference,
                    struct secret *value)
{
    struct chr_error *err = expander->err;
    const struct secret *resolved = NULL;

    if (expander->resolver == NULL) {
        if (reference->text != NULL && rsc_reference_check(reference->text, err) < 0 &&
            reference_fault(expander, reference) < 0)
            return -1;
        return secret_append_text(value, "x", err);
    }
    if (rsc_resolver_spares(expander->resolver, reference->text))
        return 0;
    if (rsc_resolve(expander->resolver, reference->text, &resolved, err) == 0)
        return secret_append(value, resolved->data, resolved->len, err);
    return reference_fault(expander, reference);
}

/* Why the reference cannot stand here, or NULL; *HINT is the way out, or "". */
static const char *why_not_here(const struct expander *expander, const char **hint)
{
    *hint = "take the blanks away";
    if (expander->line_in_doubt)
        return "a reference cannot stand in a line that goes on behind a backslash with blanks";
    *hint = "in a block, as in on-event={ ... }, it is a value";
    if (rsc_code_text_here(&expander->code))
        return "a reference cannot stand in a text that is run as code, where its value could "
               "break out";
    if (rsc_code_text_in_inner_string(&expander->code))
        return "a reference cannot stand between \\\" and \\\": where this text is run, its value "
               "could break out";
    *hint = "";
    if (rsc_scan_in_string(&expander->scanner)) {
        if (expander->before == DOLLAR)
            return "a reference cannot stand right behind a $, where its value would be code";
        if (expander->before == BAD_ESCAPE) {
            *hint = "\\\\ is a backslash";
            return "a reference cannot stand right behind half an escape";
        }
        /* One string in another: what the inner one's quotes mean to RouterOS is too uncertain. */
        for (size_t i = 0; i + 1 < expander->scanner.depth; i++)
            if (expander->scanner.open[i].kind == '"')
                return "a reference cannot stand in an expression inside a string";
        return NULL;
    }
    if (rsc_scan_within_string(&expander->scanner))
        return "a reference cannot stand in an expression inside a string";
    if (expander->own_quote_cut || (!expander->own_quote && !expander->value_plain))
        return no_part;
    return NULL;
}

static int put_value(struct expander *expander, const struct reference *reference,
                     const struct secret *value)
{
    struct secret *out = expander->out;
    struct rsc_edit edit = {.off = out->len, .hidden = true};
    size_t from = 0;

    /* As an escape, its first byte cannot go on in the name of a variable. */
    if (expander->before == VARIABLE && value->len > 0 &&
        rsc_quote_hex(out, value->data[from++], expander->err) < 0)
        return -1;
    if (value->len > 0) {
        if (rsc_quote_inside(out, value->data + from, value->len - from, expander->err) < 0)
            return -1;
        expander->before = PLAIN_TEXT;
    }
    edit.len = out->len - edit.off;
    edit.source_len = rsc_text_characters(expander->source->text + reference->off, reference->len);
    return rsc_edits_add(expander->edits, edit, expander->err);
}

static int replace(struct expander *expander, const struct reference *reference)
{
    CLEANUP(secret_release) struct secret value = {0};
    const char *hint;
    const char *reason = reference->text != NULL ? why_not_here(expander, &hint) : NULL;

    if (reason != NULL && fault(expander, reference->off, reason, hint) < 0)
        return -1;
    if (value_of(expander, reference, &value) < 0)
        return -1;
    expander->own_quote_cut = false;
    rsc_code_text_take_value(&expander->code);
    if (!rsc_scan_in_string(&expander->scanner)) {
        expander->before = PLAIN_TEXT;
        if (!expander->own_quote && put_quote(expander, expander->value_begin) < 0)
            return -1;
        expander->own_quote = true;
        expander->scanner.in_word = true;
    }
    return put_value(expander, reference, &value);
}

/* ---- the text around them ---- */

/* In parentheses there are operators, elsewhere only what separates a value from its name. */
static bool is_splitter(const struct expander *expander, char c)
{
    const struct rsc_scanner *scanner = &expander->scanner;
    bool parentheses = scanner->depth > 0 && scanner->open[scanner->depth - 1].kind == '(';

    return strchr("=~<>!", c) != NULL || (parentheses && strchr("&|+-*/.,^%", c) != NULL);
}

/* Means itself in a string, and can be meant as a part of a value. */
static bool is_plain(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           strchr("-_./:%@+,*", c) != NULL;
}

static void track_string(struct expander *expander, const struct rsc_unit *unit, char c)
{
    if (unit->kind == RSC_BAD_ESCAPE)
        expander->before = BAD_ESCAPE;
    else if (unit->kind != RSC_TEXT || c == ' ')
        expander->before = PLAIN_TEXT;
    else if (c == '$')
        expander->before = DOLLAR;
    else if (expander->before == DOLLAR)
        expander->before = VARIABLE;
    else if (expander->before != VARIABLE)
        expander->before = PLAIN_TEXT;
}

/* After UNIT was appended: where a value begins, and whether it is plain so far. */
static void track_value(struct expander *expander, const struct rsc_unit *unit, char c)
{
    bool goes_on = unit->kind == RSC_CONTINUATION ||
                   (unit->kind == RSC_BLANK && expander->line_goes_on);

    if (unit->kind == RSC_BARE && !is_splitter(expander, c)) {
        expander->value_plain = expander->value_plain && is_plain(c);
        return;
    }
    /* A word goes on in the next line, behind its blanks; no quote can be put around both. */
    if (goes_on && (!expander->value_plain ||
                    expander->value_begin + unit->len < expander->out->len)) {
        expander->value_plain = false;
        return;
    }
    expander->value_begin = expander->out->len;
    expander->value_plain = unit->kind != RSC_UNQUOTE && unit->kind != RSC_CLOSE &&
                            unit->kind != RSC_STRAY_CLOSE && unit->kind != RSC_STRAY_BACKSLASH;
}

/* The unit that follows in a value which we have put in quotes. */
static int go_on_in_own_quote(struct expander *expander, const struct rsc_unit *unit, char c)
{
    bool ends = unit->kind == RSC_BLANK || unit->kind == RSC_SEPARATOR ||
                unit->kind == RSC_CONTINUATION || unit->kind == RSC_CLOSE ||
                unit->kind == RSC_STRAY_CLOSE ||
                (unit->kind == RSC_BARE && is_splitter(expander, c));

    if (unit->kind == RSC_BARE && is_plain(c) && !is_splitter(expander, c))
        return 0;
    if (!ends && fault(expander, unit->off, no_part, "") < 0)
        return -1;
    expander->own_quote_cut = unit->kind == RSC_CONTINUATION;
    return end_own_quote(expander);
}

static int copy_unit(struct expander *expander, const struct rsc_unit *unit)
{
    const char *bytes = expander->source->text + unit->off;

    if (unit->kind == RSC_TOO_DEEP && expander->resolver != NULL)
        return fault(expander, unit->off, "braces and brackets are nested too deep", "");
    if (expander->own_quote && go_on_in_own_quote(expander, unit, bytes[0]) < 0)
        return -1;
    if (expander->own_quote_cut && unit->kind != RSC_CONTINUATION && unit->kind != RSC_BLANK) {
        expander->own_quote_cut = false;
        if (((unit->kind == RSC_BARE && !is_splitter(expander, bytes[0])) ||
             unit->kind == RSC_QUOTE || unit->kind == RSC_OPEN) &&
            fault(expander, unit->off, no_part, "") < 0)
            return -1;
    }
    if (append(expander, bytes, unit->len) < 0)
        return -1;
    track_string(expander, unit, bytes[0]);
    track_value(expander, unit, bytes[0]);
    if (unit->kind != RSC_BLANK)
        expander->line_goes_on = unit->kind == RSC_CONTINUATION;
    if (unit->kind == RSC_SEPARATOR)
        expander->line_in_doubt = false;
    else if (unit->kind == RSC_CONTINUATION && unit->len > 2)
        expander->line_in_doubt = true;
    return 0;
}

static int step(struct expander *expander)
{
    CLEANUP(reference_release) struct reference reference = {0};
    struct rsc_scanner *scanner = &expander->scanner;
    struct rsc_unit unit;

    if (scanner->len - scanner->off >= 2 && memcmp(scanner->text + scanner->off, "{{", 2) == 0) {
        if (find_reference(expander, scanner->off, &reference) < 0)
            return -1;
        if (reference.len > 0) {
            expander->line_goes_on = false;
            scanner->off += reference.len;
            return replace(expander, &reference);
        }
    }
    if (!rsc_scan(scanner, &unit))
        return 0;
    /* The backslash of "\{{ x }}" is alone, so that the reference is seen. */
    if (unit.kind == RSC_BAD_ESCAPE && unit.len == 2 && scanner->text[unit.off + 1] == '{') {
        scanner->off--;
        unit.len = 1;
    }
    rsc_code_text_take(&expander->code, &unit, scanner);
    return copy_unit(expander, &unit);
}

/* The next source must begin as it would alone. */
static int check_end(struct expander *expander)
{
    const struct rsc_scanner *scanner = &expander->scanner;
    const struct rsc_open *open;
    char text[32] = "this   is never closed";

    if (expander->own_quote && end_own_quote(expander) < 0)
        return -1;
    if (expander->resolver == NULL) /* lint looks for itself */
        return 0;
    if (expander->line_goes_on)
        return fault(expander, scanner->len, "the last line ends with a backslash", "");
    if (scanner->depth == 0)
        return 0;
    open = &scanner->open[scanner->depth - 1];
    text[5] = open->kind;
    return fault(expander, open->off, text, "");
}

int rsc_template_expand(const struct rsc_template *source, struct rsc_resolver *resolver,
                        struct secret *out, struct rsc_edits *edits,
                        struct rsc_remarks *remarks, struct chr_error *err)
{
    struct expander expander = {
        .source = source, .resolver = resolver, .out = out, .edits = edits,
        .remarks = remarks, .err = err, .value_begin = out->len, .value_plain = true,
        .scanner = {.text = source->text, .len = source->len},
    };

    size_t faults = resolver != NULL ? resolver->faults.count : 0;

    while (expander.scanner.off < source->len)
        if (step(&expander) < 0)
            return -1;
    if (check_end(&expander) < 0)
        return -1;
    return resolver != NULL && resolver->faults.count > faults
               ? rsc_resolver_report(resolver, err) : 0;
}
