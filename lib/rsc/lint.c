/*
 * Lint: each section is read as RouterOS would read it, from the top menu on and with
 * nothing open.  What is wrong is remarked by offset, and reported by position.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsc/begins.h"
#include "rsc/lockout.h"
#include "rsc/position.h"
#include "rsc/statement.h"
#include "rsc/text.h"

struct lint {
    const struct rsc_script *script;
    const struct rsc_section *section;
    struct rsc_remarks remarks;
    size_t foreign;       /* in the text: the next byte that is not UTF-8 */
    size_t foreign_first; /* the first in a comment or a string, */
    size_t foreign_count; /* of as many */
    bool foreign_code;    /* one is in code, and that is said */
    struct rsc_lockout lockout;
};

static int take_statement(const struct rsc_statement *statement, void *context,
                          struct chr_error *err)
{
    struct lint *lint = context;

    if (rsc_check_beginning(lint->script, statement, &lint->remarks, err) < 0)
        return -1;
    return rsc_lockout_take(&lint->lockout, statement, &lint->remarks, err);
}

/* ---- units ---- */

static const char *unbalanced_id(char kind)
{
    return kind == '"' ? "unbalanced-quote"
           : kind == '{' || kind == '}' ? "unbalanced-brace"
           : kind == '[' || kind == ']' ? "unbalanced-bracket"
                                        : "unbalanced-parenthesis";
}

/* Whether nothing but blanks and newlines is behind OFF in the section. */
static bool is_last(const struct lint *lint, size_t off)
{
    while (off < lint->section->end && strchr(" \t\r\n", lint->script->text.data[off]) != NULL)
        off++;
    return off >= lint->section->end;
}

static int lint_backslash(struct lint *lint, const struct rsc_unit *unit, struct chr_error *err)
{
    if (is_last(lint, unit->off + unit->len))
        return rsc_remark(&lint->remarks, CHR_LINT_ERROR, "continuation-at-end", unit->off, err,
                          "this backslash continues the line, and nothing follows");
    if (unit->kind == RSC_CONTINUATION && unit->len == 2)
        return 0;
    if (unit->kind == RSC_CONTINUATION)
        return rsc_remark(&lint->remarks, CHR_LINT_WARNING, "stray-backslash", unit->off, err,
                          "blanks stand behind this backslash, so it may not continue the line");
    return rsc_remark(&lint->remarks, CHR_LINT_WARNING, "stray-backslash", unit->off, err,
                      "a backslash outside of a string only continues a line, at its end");
}

/* A bracket that closes nothing, or not OPEN, which was opened last: CLOSES says which. */
static int lint_stray_close(struct lint *lint, const struct rsc_unit *unit,
                            const struct rsc_open *open, bool closes, struct chr_error *err)
{
    char closing = lint->script->text.data[unit->off];
    struct rsc_position position;

    if (!closes)
        return rsc_remark(&lint->remarks, CHR_LINT_ERROR, unbalanced_id(closing), unit->off, err,
                          "this %c closes nothing", closing);
    position = rsc_position_of(lint->script, open->off);
    return rsc_remark(&lint->remarks, CHR_LINT_ERROR, unbalanced_id(open->kind), unit->off, err,
                      "this %c comes before the %c of line %zu, column %zu is closed", closing,
                      open->kind, position.line, position.column);
}

/* A byte order mark in code, in the middle of a line; in a string it is a character. */
static int lint_bare(struct lint *lint, const struct rsc_unit *unit, struct chr_error *err)
{
    const char *text = lint->script->text.data;

    if (text[unit->off] != RSC_BOM[0] || lint->section->end - unit->off < RSC_BOM_SIZE ||
        memcmp(text + unit->off, RSC_BOM, RSC_BOM_SIZE) != 0)
        return 0;
    return rsc_remark(&lint->remarks, CHR_LINT_ERROR, "bom-inside", unit->off, err,
                      "a byte order mark, which belongs at the start of a file: were files joined, "
                      "and the one before ends without a newline?");
}

/*
 * Bytes of UNIT that are not UTF-8.  RouterOS has no encoding, so in comments and strings
 * they are as good as any; in code they are no part of any name.
 */
static int lint_foreign(struct lint *lint, const struct rsc_unit *unit, struct chr_error *err)
{
    const char *text = lint->script->text.data;

    while (lint->foreign < unit->off + unit->len) {
        size_t off = lint->foreign;
        size_t next = off + 1;

        lint->foreign = next + rsc_text_not_utf8(text + next, lint->section->end - next);
        if (unit->kind != RSC_BARE) {
            if (lint->foreign_count++ == 0)
                lint->foreign_first = off;
            continue;
        }
        if (!lint->foreign_code &&
            rsc_remark(&lint->remarks, CHR_LINT_ERROR, "not-utf-8", off, err,
                       "this is not UTF-8, and neither in a comment nor in a string") < 0)
            return -1;
        lint->foreign_code = true;
    }
    return 0;
}

/* Those in comments and strings, once for all. */
static int report_foreign(struct lint *lint, struct chr_error *err)
{
    if (lint->foreign_count == 0)
        return 0;
    if (lint->foreign_count == 1)
        return rsc_remark(&lint->remarks, CHR_LINT_WARNING, "not-utf-8", lint->foreign_first, err,
                          "this byte is not UTF-8; the router gets it as it is");
    return rsc_remark(&lint->remarks, CHR_LINT_WARNING, "not-utf-8", lint->foreign_first, err,
                      "this and %zu more bytes are not UTF-8; the router gets the bytes as they are",
                      lint->foreign_count - 1);
}

/* OPEN is what was open before the unit, CLOSES whether it is closed by it. */
static int lint_unit(struct lint *lint, const struct rsc_unit *unit, const struct rsc_open *open,
                     bool closes, struct chr_error *err)
{
    switch (unit->kind) {
    case RSC_BARE:
        return lint_bare(lint, unit, err);
    case RSC_CONTINUATION:
    case RSC_STRAY_BACKSLASH:
        return lint_backslash(lint, unit, err);
    case RSC_STRAY_CLOSE:
        return lint_stray_close(lint, unit, open, closes, err);
    case RSC_BAD_ESCAPE:
        return rsc_remark(&lint->remarks, CHR_LINT_WARNING, "unknown-escape", unit->off, err,
                          "RouterOS knows no such escape; \\\\ is a backslash, \\41 a byte");
    case RSC_TOO_DEEP:
        return rsc_remark(&lint->remarks, CHR_LINT_ERROR, "too-deep", unit->off, err,
                          "more than %d braces, brackets and strings in each other",
                          RSC_DEPTH_MAX);
    default:
        return 0;
    }
}

/* ---- sections ---- */

/* The first string that goes over the end of a line: often its end is what is missing. */
struct long_string {
    size_t begin; /* of the string that is open, then of the long one */
    bool found;
};

static void look_for_long_string(struct long_string *string, const struct rsc_unit *unit,
                                 const char *text)
{
    if (string->found)
        return;
    if (unit->kind == RSC_QUOTE)
        string->begin = unit->off;
    else if (unit->kind == RSC_TEXT && text[unit->off] == '\n')
        string->found = true;
}

static int lint_open(struct lint *lint, const struct rsc_scanner *scanner,
                     const struct long_string *string, struct chr_error *err)
{
    bool quote = false;

    for (size_t i = 0; i < scanner->depth; i++) {
        const struct rsc_open *open = &scanner->open[i];

        quote = quote || open->kind == '"';
        if (rsc_remark(&lint->remarks, CHR_LINT_ERROR, unbalanced_id(open->kind), open->off, err,
                       "this %c is never closed", open->kind) < 0)
            return -1;
    }
    if (!quote || !string->found || string->begin == scanner->open[scanner->depth - 1].off)
        return 0;
    return rsc_remark(&lint->remarks, CHR_LINT_NOTE, "long-string", string->begin, err,
                      "this is the first string that goes over the end of a line; "
                      "perhaps its end is missing");
}

/* Where the line of that number begins. */
static size_t line_offset(const struct lint *lint, size_t number)
{
    const struct rsc_section *section = lint->section;
    const char *text = lint->script->text.data;
    size_t off = section->begin;

    for (size_t line = 1; line < number; line++)
        off = (size_t)((const char *)memchr(text + off, '\n', section->end - off) + 1 - text);
    return off;
}

/* Several files in one stream have a mark each. */
static int lint_boms(struct lint *lint, struct chr_error *err)
{
    const struct rsc_section *section = lint->section;
    size_t off = section->boms > 0 ? line_offset(lint, section->first_bom_line) : 0;

    if (section->boms == 0)
        return 0;
    if (section->boms == 1)
        return rsc_remark(&lint->remarks, CHR_LINT_NOTE, "bom", off, err,
                          "the byte order mark is left out");
    return rsc_remark(&lint->remarks, CHR_LINT_NOTE, "bom", off, err,
                      "%zu byte order marks are left out, this is the first: files were joined",
                      section->boms);
}

/* What was changed on the way in. */
static int lint_changes(struct lint *lint, struct chr_error *err)
{
    const struct rsc_section *section = lint->section;

    if (lint_boms(lint, err) < 0)
        return -1;
    if (section->crlf_lines == 0)
        return 0;
    return rsc_remark(&lint->remarks, CHR_LINT_NOTE, "crlf",
                      line_offset(lint, section->first_crlf_line), err,
                      "%zu %s in CR LF; the router gets LF", section->crlf_lines,
                      section->crlf_lines == 1 ? "line ends" : "lines end");
}

static int lint_carriage_return(struct lint *lint, struct chr_error *err)
{
    const struct rsc_section *section = lint->section;
    const char *text = lint->script->text.data + section->begin;
    const char *found = memchr(text, '\r', section->end - section->begin);

    if (found == NULL)
        return 0;
    return rsc_remark(&lint->remarks, CHR_LINT_WARNING, "carriage-return",
                      section->begin + (size_t)(found - text), err,
                      "a carriage return without a newline; RouterOS may end the line there");
}

static int read_units(struct lint *lint, struct rsc_parser *parser, struct chr_error *err)
{
    const char *text = lint->script->text.data;
    struct rsc_scanner scanner = {
        .text = text, .len = lint->section->end, .off = lint->section->begin};
    struct long_string string = {0};
    struct rsc_unit unit;

    lint->foreign = scanner.off + rsc_text_not_utf8(text + scanner.off, scanner.len - scanner.off);
    lint->foreign_count = 0;
    lint->foreign_code = false;

    for (;;) {
        size_t depth = scanner.depth;
        struct rsc_open open = {0};

        if (depth > 0)
            open = scanner.open[depth - 1];
        if (!rsc_scan(&scanner, &unit))
            break;
        look_for_long_string(&string, &unit, text);
        if (lint_unit(lint, &unit, &open, scanner.depth < depth, err) < 0 ||
            lint_foreign(lint, &unit, err) < 0 ||
            rsc_parser_take(parser, &unit, &scanner, err) < 0)
            return -1;
    }
    if (rsc_parser_end(parser, err) < 0 || report_foreign(lint, err) < 0)
        return -1;
    return lint_open(lint, &scanner, &string, err);
}

static int lint_section(struct lint *lint, struct chr_error *err)
{
    struct rsc_parser *parser;
    int result;

    if (lint_changes(lint, err) < 0)
        return -1;
    if (lint->section->unfit) /* that is said, and more would be guesswork */
        return 0;
    if (lint_carriage_return(lint, err) < 0)
        return -1;
    parser = rsc_parser_new(lint->script->text.data, take_statement, lint, err);
    if (parser == NULL)
        return -1;
    result = read_units(lint, parser, err);
    rsc_parser_free(parser);
    return result;
}

/* ---- the report ---- */

static int by_offset(const void *a_, const void *b_)
{
    const struct rsc_remark *a = a_;
    const struct rsc_remark *b = b_;

    return a->off != b->off ? (a->off > b->off) - (a->off < b->off) : strcmp(a->id, b->id);
}

static int copy_names(const struct rsc_script *script, struct chr_lint_report *report,
                      struct chr_error *err)
{
    report->names = mem_new(script->section_count, sizeof *report->names, err);
    if (report->names == NULL)
        return -1;
    for (; report->name_count < script->section_count; report->name_count++) {
        char *name = mem_strdup(script->sections[report->name_count].name, err);

        if (name == NULL)
            return -1;
        report->names[report->name_count] = name;
    }
    return 0;
}

static void add_finding(const struct lint *lint, const struct rsc_remark *remark,
                        struct chr_lint_report *report)
{
    struct chr_lint_finding *finding = &report->findings[report->finding_count++];
    struct rsc_position position = rsc_position_of(lint->script, remark->off);

    finding->severity = remark->severity;
    finding->id = remark->id;
    finding->file = report->names[position.section];
    finding->line = position.line;
    finding->column = position.column;
    memcpy(finding->text, remark->text, sizeof finding->text);
    report->errors += remark->severity == CHR_LINT_ERROR;
    report->warnings += remark->severity == CHR_LINT_WARNING;
}

static int make_report(struct lint *lint, struct chr_lint_report *report, struct chr_error *err)
{
    if (copy_names(lint->script, report, err) < 0)
        return -1;
    report->findings = mem_new(lint->remarks.count, sizeof *report->findings, err);
    if (report->findings == NULL)
        return -1;
    if (lint->remarks.count > 0)
        qsort(lint->remarks.items, lint->remarks.count, sizeof *lint->remarks.items, by_offset);
    for (size_t i = 0; i < lint->remarks.count; i++)
        add_finding(lint, &lint->remarks.items[i], report);
    return 0;
}

static int look(struct lint *lint, struct chr_error *err)
{
    const struct rsc_script *script = lint->script;

    for (size_t i = 0; i < script->remarks.count; i++) {
        const struct rsc_remark *remark = &script->remarks.items[i];

        if (rsc_remark(&lint->remarks, remark->severity, remark->id, remark->off, err, "%s",
                       remark->text) < 0)
            return -1;
    }
    rsc_lockout_begin(&lint->lockout, script);
    for (size_t i = 0; i < script->section_count; i++) {
        lint->section = &script->sections[i];
        if (lint_section(lint, err) < 0)
            return -1;
    }
    return rsc_lockout_end(&lint->lockout, &lint->remarks, err);
}

int rsc_script_lint(const struct rsc_script *script, struct chr_lint_report **out,
                    struct chr_error *err)
{
    struct lint lint = {.script = script};
    struct chr_lint_report *report = mem_new(1, sizeof *report, err);

    if (report == NULL)
        return -1;
    if (look(&lint, err) == 0 && make_report(&lint, report, err) == 0)
        *out = STEAL(report);
    rsc_remarks_release(&lint.remarks);
    chr_lint_free(report);
    return report == NULL ? 0 : -1;
}

int chr_lint(const char *const *names, size_t count, struct chr_lint_report **out,
             struct chr_error *err)
{
    CLEANUP(rsc_script_release) struct rsc_script script = {0};
    size_t inputs = 0;

    for (size_t i = 0; i < count; i++) {
        AUTO_SECRET struct secret text = {0};
        bool is_stdin = strcmp(names[i], "-") == 0;
        unsigned flags = 0;

        if (is_stdin && inputs++ > 0)
            return err_set(err, CHR_E_USAGE, "standard input can be read once only");
        if (rsc_read_source(names[i], &text, &flags, err) < 0 ||
            rsc_script_add(&script, is_stdin ? "<stdin>" : names[i], text.data, text.len, flags,
                           NULL, err) < 0)
            return -1;
    }
    return rsc_script_lint(&script, out, err);
}

void chr_lint_free(struct chr_lint_report *report)
{
    if (report == NULL)
        return;
    for (size_t i = 0; i < report->name_count; i++)
        free(report->names[i]);
    free(report->names);
    free(report->findings);
    free(report);
}
