/* The lexer: a stack of what is open, one unit at a time. */
#include "rsc/scan.h"

#include <string.h>

bool rsc_scan_in_string(const struct rsc_scanner *scanner)
{
    return scanner->depth > 0 && scanner->open[scanner->depth - 1].kind == '"';
}

bool rsc_scan_within_string(const struct rsc_scanner *scanner)
{
    for (size_t i = 0; i < scanner->depth; i++)
        if (scanner->open[i].kind == '"')
            return true;
    return false;
}

/* The byte AHEAD of the next one, or NUL behind the end. */
static char peek(const struct rsc_scanner *scanner, size_t ahead)
{
    return ahead < scanner->len - scanner->off ? scanner->text[scanner->off + ahead] : '\0';
}

static void set(struct rsc_unit *unit, enum rsc_unit_kind kind, size_t len)
{
    unit->kind = kind;
    unit->len = len;
}

static void open_one(struct rsc_scanner *scanner, char kind, enum rsc_unit_kind unit_kind,
                     size_t len, struct rsc_unit *unit)
{
    if (scanner->depth == RSC_DEPTH_MAX) {
        set(unit, RSC_TOO_DEEP, scanner->len - scanner->off);
        return;
    }
    scanner->open[scanner->depth++] = (struct rsc_open){kind, scanner->off};
    scanner->in_word = false;
    set(unit, unit_kind, len);
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

static void scan_escape(const struct rsc_scanner *scanner, struct rsc_unit *unit)
{
    char next = peek(scanner, 1);

    if (next == '\n')
        set(unit, RSC_CONTINUATION, 2);
    else if (is_hex(next) && is_hex(peek(scanner, 2)))
        set(unit, RSC_ESCAPE, 3);
    else if (next != '\0' && strchr("\"\\$?_abfnrtv", next) != NULL)
        set(unit, RSC_ESCAPE, 2);
    else
        set(unit, RSC_BAD_ESCAPE, scanner->off + 1 < scanner->len ? 2 : 1);
}

static void scan_string(struct rsc_scanner *scanner, struct rsc_unit *unit)
{
    char c = peek(scanner, 0);
    char next = peek(scanner, 1);

    if (c == '"') {
        scanner->depth--;
        scanner->in_word = true;
        set(unit, RSC_UNQUOTE, 1);
    } else if (c == '\\') {
        scan_escape(scanner, unit);
    } else if (c == '$' && (next == '[' || next == '(')) {
        open_one(scanner, next, RSC_OPEN, 2, unit);
    } else {
        set(unit, RSC_TEXT, 1);
    }
}

/* A closing one: where what it closes is open at all, all above that is given up. */
static void scan_close(struct rsc_scanner *scanner, char c, struct rsc_unit *unit)
{
    char wanted = c == '}' ? '{' : c == ']' ? '[' : '(';
    size_t depth = scanner->depth;

    set(unit, RSC_STRAY_CLOSE, 1);
    while (depth > 0 && scanner->open[depth - 1].kind != '"' &&
           scanner->open[depth - 1].kind != wanted)
        depth--;
    if (depth == 0 || scanner->open[depth - 1].kind != wanted)
        return;
    if (depth == scanner->depth)
        unit->kind = RSC_CLOSE;
    scanner->depth = depth - 1;
    scanner->in_word = true;
}

static void scan_backslash(const struct rsc_scanner *scanner, struct rsc_unit *unit)
{
    size_t ahead = 1;

    while (peek(scanner, ahead) != '\0' && strchr(" \t\r", peek(scanner, ahead)) != NULL)
        ahead++;
    if (peek(scanner, ahead) == '\n')
        set(unit, RSC_CONTINUATION, ahead + 1);
    else
        set(unit, RSC_STRAY_BACKSLASH, 1);
}

static void scan_code(struct rsc_scanner *scanner, struct rsc_unit *unit)
{
    const char *rest = scanner->text + scanner->off;
    const char *newline;
    bool in_word = scanner->in_word;
    char c = *rest;

    scanner->in_word = false;
    switch (c) {
    case ' ':
    case '\t':
    case '\r':
        set(unit, RSC_BLANK, 1);
        return;
    case ';':
    case '\n':
        set(unit, RSC_SEPARATOR, 1);
        return;
    case '\\':
        scan_backslash(scanner, unit);
        return;
    case '"':
        open_one(scanner, c, RSC_QUOTE, 1, unit);
        return;
    case '{':
    case '[':
    case '(':
        open_one(scanner, c, RSC_OPEN, 1, unit);
        return;
    case '}':
    case ']':
    case ')':
        scan_close(scanner, c, unit);
        return;
    case '#':
        if (in_word)
            break;
        newline = memchr(rest, '\n', scanner->len - scanner->off);
        set(unit, RSC_COMMENT, newline != NULL ? (size_t)(newline - rest)
                                               : scanner->len - scanner->off);
        return;
    default:
        break;
    }
    scanner->in_word = true;
    set(unit, RSC_BARE, 1);
}

bool rsc_scan(struct rsc_scanner *scanner, struct rsc_unit *unit)
{
    if (scanner->off >= scanner->len)
        return false;
    unit->off = scanner->off;
    if (rsc_scan_in_string(scanner))
        scan_string(scanner, unit);
    else
        scan_code(scanner, unit);
    scanner->off += unit->len;
    return true;
}
