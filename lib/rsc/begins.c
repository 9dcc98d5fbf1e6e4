/* The first word of a statement. */
#include "rsc/begins.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "rsc/menus.h"
#include "rsc/value.h"

#define SHOWN_MAX 40

struct beginning {
    const struct rsc_script *script;
    const struct rsc_statement *statement;
    struct rsc_remarks *remarks;
    struct chr_error *err;
};

/* A part of the script for a message: short, whole characters, "this" for what is hidden. */
static const char *shown(const struct rsc_script *script, size_t off, size_t len, char *out)
{
    const char *text = script->text.data + off;

    if (rsc_is_hidden(script, off, len))
        return strcpy(out, "this");
    if (len > SHOWN_MAX) {
        len = SHOWN_MAX;
        while (len > SHOWN_MAX - 3 && (text[len] & 0xC0) == 0x80)
            len--;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return out;
}

static int remark(const struct beginning *beginning, enum chr_lint_severity severity,
                  const char *id, const char *text)
{
    return rsc_remark(beginning->remarks, severity, id, beginning->statement->words[0].off,
                      beginning->err, "%s", text);
}

/* An unknown name after SIGN ('/' or ':'), at OFF: perhaps another was meant. */
static int unknown_name(const struct beginning *beginning, char sign, size_t off, size_t len)
{
    const char *nearest = rsc_is_hidden(beginning->script, off, len)
                              ? NULL : rsc_nearest_name(beginning->script->text.data + off, len);
    const char *kind = sign == '/' ? "menu" : "command";
    char name[SHOWN_MAX + 1];
    char text[CHR_FINDING_SIZE];

    (void)shown(beginning->script, off, len, name);
    if (strcmp(name, "this") == 0)
        (void)snprintf(text, sizeof text, "this is no %s that is known", kind);
    else if (nearest == NULL)
        (void)snprintf(text, sizeof text, "%c%s is no %s that is known", sign, name, kind);
    else
        (void)snprintf(text, sizeof text, "%c%s is no %s that is known; is %c%s meant?", sign,
                       name, kind, sign, nearest);
    return remark(beginning, CHR_LINT_WARNING, sign == '/' ? "unknown-menu" : "unknown-command",
                  text);
}

/* "/ip/address", "/ ip address", "/:put"; SLASH is how far in the word it is. */
static int check_slash(const struct beginning *beginning, size_t slash)
{
    const struct rsc_word *word = &beginning->statement->words[0];
    const char *text = beginning->statement->text;
    size_t off = word->off + slash + 1;
    size_t end = word->off + word->len;
    size_t len;

    if (off == end && beginning->statement->count > 1) {
        word++;
        off = word->off;
        end = word->off + word->len;
    }
    if (off == end || !word->literal || text[off] == ':' || text[off] == '.' || text[off] == '"')
        return 0;
    for (len = 0; off + len < end && text[off + len] != '/'; len++)
        ;
    if (len == 0 || rsc_name_kind(text + off, len) != RSC_NAME_UNKNOWN)
        return 0;
    return unknown_name(beginning, '/', off, len);
}

static int check_colon(const struct beginning *beginning)
{
    const struct rsc_word *word = &beginning->statement->words[0];
    const char *text = beginning->statement->text + word->off;
    size_t len = 0;

    if (word->len > 1 && text[1] == '/')
        return check_slash(beginning, 1);
    while (1 + len < word->len && strchr("/{[(\"$", text[1 + len]) == NULL)
        len++;
    /* ":{ ... }" is a block, ":" alone the top. */
    if (len == 0 || rsc_name_kind(text + 1, len) != RSC_NAME_UNKNOWN)
        return 0;
    return unknown_name(beginning, ':', word->off + 1, len);
}

/* Whether word I is NAME=VALUE, as properties are; "http://host/?a=b" is none. */
static bool is_property(const struct rsc_statement *statement, size_t i)
{
    const struct rsc_word *word = &statement->words[i];

    if (!word->has_key)
        return false;
    for (size_t k = 0; k < word->key_len; k++) {
        char c = statement->text[word->off + k];

        if (!isalnum((unsigned char)c) && strchr("-._", c) == NULL)
            return false;
    }
    return true;
}

static bool has_property(const struct rsc_statement *statement, const char *name)
{
    for (size_t i = 1; i < statement->count; i++)
        if (statement->words[i].has_key && statement->words[i].key_len == strlen(name) &&
            memcmp(statement->text + statement->words[i].off, name, strlen(name)) == 0)
            return true;
    return false;
}

static bool word_is(const struct rsc_statement *statement, size_t i, const char *text)
{
    return i < statement->count && statement->words[i].len == strlen(text) &&
           memcmp(statement->text + statement->words[i].off, text, strlen(text)) == 0;
}

/*
 * Whether this is the language's set or find, whose colon may be left out: "set NAME
 * VALUE", "find TEXT PART", "find in=TEXT key=PART".  With other properties, with "where" or
 * alone, it is that of a menu.
 */
static bool is_of_language(const struct rsc_statement *statement)
{
    bool find = word_is(statement, 0, "find");

    if (find && (statement->count < 3 || word_is(statement, 1, "where")))
        return false;
    if (find && ((!is_property(statement, 1) && !is_property(statement, 2)) ||
                 (has_property(statement, "in") && has_property(statement, "key"))))
        return true;
    for (size_t i = 1; i < statement->count; i++)
        if (is_property(statement, i))
            return false;
    return true;
}

/* A plain word where no menu is chosen. */
static int check_word_at_root(const struct beginning *beginning)
{
    const struct rsc_word *word = &beginning->statement->words[0];
    const char *text = beginning->statement->text + word->off;
    const char *slash = memchr(text, '/', word->len);
    size_t len = slash != NULL ? (size_t)(slash - text) : word->len;
    enum rsc_name_kind kind = rsc_name_kind(text, len);
    bool hidden = rsc_is_hidden(beginning->script, word->off, word->len);
    const char *nearest = hidden ? NULL : rsc_nearest_name(text, len);
    char name[SHOWN_MAX + 1];
    char message[CHR_FINDING_SIZE];

    if (kind == RSC_NAME_COMMAND &&
        ((!word_is(beginning->statement, 0, "set") && !word_is(beginning->statement, 0, "find")) ||
         is_of_language(beginning->statement)))
        return 0;
    (void)shown(beginning->script, word->off, len, name);
    if (kind == RSC_NAME_COMMAND) /* "set" in no menu: there is no /set either */
        nearest = NULL;
    if (kind == RSC_NAME_MENU) {
        (void)snprintf(message, sizeof message,
                       "%s is a menu without a slash, which works at the top alone%s%s", name,
                       hidden ? "" : "; write /", hidden ? "" : name);
        return remark(beginning, CHR_LINT_WARNING, "no-slash", message);
    }
    (void)snprintf(message, sizeof message, "%s is no command here: no menu is chosen%s%s%s", name,
                   nearest != NULL ? "; is /" : "", nearest != NULL ? nearest : "",
                   nearest != NULL ? " meant?" : "");
    return remark(beginning, CHR_LINT_ERROR, "not-a-command", message);
}

static int check_plain_word(const struct beginning *beginning)
{
    const struct rsc_word *word = &beginning->statement->words[0];
    const char *text = beginning->statement->text + word->off;
    char name[SHOWN_MAX + 1];
    char message[CHR_FINDING_SIZE];

    if (word->has_key) {
        (void)snprintf(message, sizeof message,
                       "%s is no command; is a backslash missing at the end of the line before?",
                       shown(beginning->script, word->off, word->key_len + 1, name));
        return remark(beginning, CHR_LINT_ERROR, "not-a-command", message);
    }
    if (!beginning->statement->at_root)
        return 0;
    if (word->len >= 2 && memcmp(text, "..", 2) == 0)
        return remark(beginning, CHR_LINT_ERROR, "not-a-command", "there is no menu above the top");
    return check_word_at_root(beginning);
}

int rsc_check_beginning(const struct rsc_script *script, const struct rsc_statement *statement,
                        struct rsc_remarks *remarks, struct chr_error *err)
{
    struct beginning beginning = {script, statement, remarks, err};
    char first = statement->text[statement->words[0].off];

    if (statement->unsure && first != '/' && first != ':')
        return 0;
    switch (first) {
    case '/':
        return check_slash(&beginning, 0);
    case ':':
        return check_colon(&beginning);
    case '"':
        return remark(&beginning, CHR_LINT_ERROR, "not-a-command",
                      rsc_has_reference(script, statement->words[0].off, statement->words[0].len)
                          ? "a reference is no command: its value is always a string"
                          : "a string is no command");
    case '$': /* a function */
    case '{':
    case '[':
    case '(':
    case ')':
    case ']':
    case '}': /* what is stray is said already */
    case '\\':
        return 0;
    default:
        return check_plain_word(&beginning);
    }
}
