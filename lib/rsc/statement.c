/* From units to statements. */
#include "rsc/statement.h"

#include <stdlib.h>
#include <string.h>

#include "rsc/menus.h"

/* One for each thing that is open, as in the scanner, and the script itself. */
struct frame {
    char kind;       /* 0 for the script, else as in struct rsc_open */
    bool commands;   /* holds statements; else a string, an array or an expression */
    bool runs;
    bool unsure;     /* whether these are commands, or an array, or in which menu: all in it, too */
    bool in_word;
    size_t first;    /* index of its first word */
    char menu[RSC_PATH_MAX]; /* the current one; of what holds no statements: for brackets in it */
    struct rsc_selection selection; /* of the first [find] in it */
    struct rsc_loop loop;
};

struct rsc_parser {
    const char *text;
    rsc_statement_fn *each;
    void *context;
    struct frame frames[RSC_DEPTH_MAX + 1];
    size_t depth; /* index of the innermost */
    struct rsc_word *words;
    size_t count;
    size_t capacity;
    size_t end;   /* of the last unit */
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* No menu is deeper. */
#define PATH_WORDS_MAX 16

/* Whether WORD at the top, where PATH is empty, is a command such as "/import". */
static bool is_top_command(const char *path, const char *word, size_t len)
{
    size_t slash = len > 0 && word[0] == '/';

    return path[0] == '\0' && rsc_name_kind(word + slash, len - slash) == RSC_NAME_COMMAND;
}

/*
 * The path of the words so far, from the frame's menu on.  Returns the index of the
 * first word behind it; *VERB says whether it ended in a verb.
 */
static size_t find_path(const struct rsc_parser *parser, const struct frame *frame, size_t count,
                        char *path, bool *verb)
{
    const struct rsc_word *words = parser->words + frame->first;
    size_t i;

    *verb = false;
    memcpy(path, frame->menu, RSC_PATH_MAX);
    for (i = 0; i < count && i < PATH_WORDS_MAX && !*verb; i++) {
        const char *word = parser->text + words[i].off;
        size_t colon = i == 0 && words[i].len > 1 && memcmp(word, ":/", 2) == 0;

        word += colon; /* ":/ip address" is "/ip address" */
        if (words[i].has_key || !words[i].literal || word[0] == '"' || word[0] == ':')
            break;
        if (i == 0 && word[0] == '/')
            path[0] = '\0';
        *verb = is_top_command(path, word, words[i].len - colon) ||
                rsc_path_add(path, word, words[i].len - colon);
    }
    return i;
}

/* ---- statements ---- */

static bool span_is(const char *text, size_t off, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text + off, word, len) == 0;
}

/* What the words of "find [where] name=x" select. */
static struct rsc_selection selection_of(const struct rsc_parser *parser,
                                         const struct rsc_word *words, size_t count)
{
    struct rsc_selection selection = {.kind = RSC_SELECT_ALL};
    size_t i = 1;
    const char *word;
    size_t name = strlen("name");
    size_t sign;

    if (i < count && span_is(parser->text, words[i].off, words[i].len, "where"))
        i++;
    if (i == count)
        return selection;
    selection.kind = RSC_SELECT_UNKNOWN;
    word = parser->text + words[i].off;
    if (i + 1 != count || words[i].len < name + 2 || memcmp(word, "name", name) != 0)
        return selection;
    sign = word[name] == '!' && word[name + 1] == '=' ? 2 : 1;
    selection.value.off = words[i].off + name + sign;
    selection.value.len = words[i].len - name - sign;
    if (word[name] == '=')
        selection.kind = RSC_SELECT_EQUAL;
    else if (sign == 2)
        selection.kind = RSC_SELECT_NOT_EQUAL;
    else if (word[name] == '~')
        selection.kind = RSC_SELECT_MATCH;
    return selection;
}

/* Whether what the whole statement names may be a menu; an unknown one with a slash may be new. */
static bool is_menu(const struct rsc_statement *statement)
{
    /* With a colon, it is ":/": no other begins a path. */
    return !statement->at_root || strchr("/:", statement->text[statement->words[0].off]) != NULL ||
           rsc_name_kind(statement->path, strcspn(statement->path, " ")) == RSC_NAME_MENU;
}

/* The statement of the innermost frame is complete: report it, and begin the next. */
static int finish(struct rsc_parser *parser, struct chr_error *err)
{
    struct frame *frame = &parser->frames[parser->depth];
    size_t count = parser->count - frame->first;
    struct rsc_statement statement = {
        .text = parser->text, .count = count, .loop = frame->loop,
        .words = count > 0 ? parser->words + frame->first : NULL,
        .at_root = frame->menu[0] == '\0', .unsure = frame->unsure, .runs = frame->runs};
    bool verb;
    int result;

    frame->in_word = false;
    if (count == 0)
        return 0;
    statement.arguments = find_path(parser, frame, count, statement.path, &verb);
    if (frame->kind == '[' && frame->selection.kind == RSC_SELECT_NOTHING &&
        statement.arguments > 0 &&
        rsc_path_is(strrchr(statement.path, ' ') != NULL ? strrchr(statement.path, ' ') + 1
                                                         : statement.path, "find"))
        frame->selection = selection_of(parser, statement.words + statement.arguments - 1,
                                        count - statement.arguments + 1);
    result = parser->each(&statement, parser->context, err);
    if (!verb && statement.arguments == count && is_menu(&statement))
        memcpy(frame->menu, statement.path, RSC_PATH_MAX);
    parser->count = frame->first;
    return result;
}

/* ---- words ---- */

static struct rsc_word *current_word(struct rsc_parser *parser)
{
    struct frame *frame = &parser->frames[parser->depth];

    return frame->in_word && parser->count > frame->first ? &parser->words[parser->count - 1]
                                                          : NULL;
}

static int begin_word(struct rsc_parser *parser, size_t off, struct chr_error *err)
{
    struct frame *frame = &parser->frames[parser->depth];

    if (frame->in_word)
        return 0;
    frame->in_word = true;
    if (parser->count == RSC_WORDS_MAX)
        return 0;
    if (mem_grow(&parser->words, &parser->capacity, parser->count, sizeof *parser->words, err) < 0)
        return -1;
    parser->words[parser->count++] = (struct rsc_word){.off = off, .literal = true};
    return 0;
}

static int grow_word(struct rsc_parser *parser, const struct rsc_unit *unit,
                     struct chr_error *err)
{
    struct rsc_word *word;
    char c = parser->text[unit->off];

    if (begin_word(parser, unit->off, err) < 0)
        return -1;
    word = current_word(parser);
    if (word == NULL)
        return 0;
    if (c == '=' && unit->kind == RSC_BARE && !word->has_key && word->literal &&
        unit->off > word->off && strchr("!<>", parser->text[unit->off - 1]) == NULL) {
        word->has_key = true;
        word->key_len = unit->off - word->off;
    }
    if (c == '$' && unit->kind == RSC_BARE)
        word->literal = false;
    word->len = unit->off + unit->len - word->off;
    return 0;
}

/* ---- what opens and closes ---- */

static bool key_is(const struct rsc_parser *parser, const struct rsc_word *word,
                   const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (span_is(parser->text, word->off, word->key_len, keys[i]))
            return true;
    return false;
}

/* Whether the frame's statement begins with the command NAME of the language. */
static bool command_is(const struct rsc_parser *parser, const struct frame *frame,
                       const char *name)
{
    const struct rsc_word *word = &parser->words[frame->first];
    size_t colon = parser->text[word->off] == ':';

    return span_is(parser->text, word->off + colon, word->len - colon, name);
}

/* ":foreach VARIABLE in=LIST", as far as it is read. */
static struct rsc_loop loop_of(const struct rsc_parser *parser, const struct frame *outer)
{
    const struct rsc_word *words = parser->words + outer->first;
    struct rsc_loop loop = {0};

    for (size_t i = 1; i < parser->count - outer->first; i++) {
        const struct rsc_word *word = &words[i];

        if (i == 1 && !word->has_key) {
            loop.variable = (struct rsc_span){word->off, word->len};
        } else if (word->has_key && span_is(parser->text, word->off, word->key_len, "in")) {
            loop.list.off = word->off + word->key_len + 1;
            loop.list.len = word->len - word->key_len - 1;
            loop.selection = word->selection;
        }
    }
    return loop;
}

/* Whether the brace that opens in WORD begins a block: "{", "/{", ":{" or "/ {". */
static bool is_block(const struct rsc_parser *parser, const struct frame *outer,
                     const struct rsc_word *word)
{
    const struct rsc_word *first = &parser->words[outer->first];
    bool sign = first->len == 1 && strchr("/:", parser->text[first->off]) != NULL;

    return word == first ? word->len == 0 || sign : word == first + 1 && word->len == 0 && sign;
}

static bool command_is_one_of(const struct rsc_parser *parser, const struct frame *frame,
                              const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (command_is(parser, frame, names[i]))
            return true;
    return false;
}

/*
 * Whether nobody but the router knows what the brace in WORD holds, where it is not known
 * to be commands: what a function of one's own is given, a property that is new, or
 * a brace where one of a command of the language is left out.
 */
static bool is_unsure(const struct rsc_parser *parser, const struct frame *outer,
                      const struct rsc_word *word)
{
    static const char *const control[] = {"if", "for", "while", "retry", "parse"};
    bool first = word == &parser->words[outer->first];

    if (word->has_key)
        return !command_is(parser, outer, "foreach") || word->key_len != 2; /* in={1;2} */
    return word->len > 0 || command_is_one_of(parser, outer, control, COUNT(control)) ||
           (!first && word[-1].has_key && word[-1].len == word[-1].key_len + 1); /* "do= {" */
}

/* Whether the statement calls what a variable or an expression gives: "$f x={ ... }". */
static bool is_own_call(const struct rsc_parser *parser, const struct frame *outer,
                        const struct rsc_word *word)
{
    const struct rsc_word *first = &parser->words[outer->first];

    return strchr("$[(", parser->text[first->off]) != NULL && (word != first || word->len > 0);
}

/* Whether the brace that opens in WORD, behind KEY=, holds commands that run with the statement. */
static bool runs_now(const struct rsc_parser *parser, const struct frame *outer,
                     const struct rsc_word *word)
{
    static const char *const now[] = {"do", "else", "on-error", "command"};

    return key_is(parser, word, now, command_is(parser, outer, "foreach") ? 3 : COUNT(now)) ||
           (command_is(parser, outer, "onerror") &&
            span_is(parser->text, word->off, word->key_len, "in"));
}

/* Whether the brace that opens in WORD holds commands, and when they run. */
static void classify_braces(const struct rsc_parser *parser, const struct frame *outer,
                            const struct rsc_word *word, struct frame *inner)
{
    static const char *const later[] = {"source",    "on-event",     "script",        "on-up",
                                        "on-down",   "up-script",    "down-script",   "on-login",
                                        "on-logout", "lease-script", "action-script", "test-script"};
    static const char *const blocks[] = {"do", "execute", "onerror", "time"};

    if (is_block(parser, outer, word)) {
        inner->commands = true;
    } else if (!word->has_key) {
        inner->commands = word->len == 0 && command_is_one_of(parser, outer, blocks, COUNT(blocks));
    } else if (runs_now(parser, outer, word)) {
        inner->commands = true;
        inner->runs = outer->runs && !command_is(parser, outer, "global") &&
                      !command_is(parser, outer, "local");
        if (command_is(parser, outer, "foreach"))
            inner->loop = loop_of(parser, outer);
    } else if (key_is(parser, word, later, COUNT(later))) {
        inner->commands = true;
        inner->runs = false;
        inner->menu[0] = '\0';
    }
    if (is_own_call(parser, outer, word) ||
        (!inner->commands && is_unsure(parser, outer, word)))
        inner->unsure = true;
}

/* Whether the parenthesis at TEXT is an expression that is kept for later: (>[...]), (>{...}). */
static bool is_kept(const char *text)
{
    text += 1 + strspn(text + 1, " \t");
    return *text == '>';
}

static int open_frame(struct rsc_parser *parser, char kind, size_t off, struct chr_error *err)
{
    struct frame *outer = &parser->frames[parser->depth];
    struct frame *inner = outer + 1;
    struct rsc_word *word = NULL;
    bool verb;

    if (outer->commands) {
        if (begin_word(parser, off, err) < 0)
            return -1;
        word = current_word(parser);
    }
    *inner = (struct frame){.kind = kind, .runs = outer->runs, .unsure = outer->unsure,
                            .loop = outer->loop};
    memcpy(inner->menu, outer->menu, RSC_PATH_MAX);
    if (outer->commands) {
        (void)find_path(parser, outer, parser->count - outer->first, inner->menu, &verb);
        /* "/ip address set [find]": the bracket is in the menu, not in the command. */
        if (verb)
            rsc_path_up(inner->menu);
    }
    if (kind == '[') {
        inner->commands = true;
    } else if (kind == '{' && word != NULL) {
        classify_braces(parser, outer, word, inner);
    } else if (kind == '(' && is_kept(parser->text + off)) {
        inner->unsure = true;
    }
    if (word != NULL && kind != '"')
        word->literal = false;
    parser->depth++;
    inner->first = parser->count;
    return 0;
}

/* What ended with the last unit: its last statement, and the word around it goes on. */
static int close_frame(struct rsc_parser *parser, struct chr_error *err)
{
    struct frame *inner = &parser->frames[parser->depth];
    struct frame *outer = inner - 1;
    struct rsc_word *word;

    if (inner->commands && finish(parser, err) < 0)
        return -1;
    parser->count = inner->first;
    parser->depth--;
    if (!outer->commands)
        return 0;
    word = current_word(parser);
    if (word == NULL)
        return 0;
    word->len = parser->end - word->off;
    if (inner->kind == '[')
        word->selection = inner->selection;
    return 0;
}

int rsc_parser_take(struct rsc_parser *parser, const struct rsc_unit *unit,
                    const struct rsc_scanner *scanner, struct chr_error *err)
{
    struct frame *frame = &parser->frames[parser->depth];

    parser->end = unit->off + unit->len;
    if (scanner->depth > parser->depth)
        return open_frame(parser, scanner->open[scanner->depth - 1].kind, unit->off, err);
    if (scanner->depth < parser->depth) {
        while (scanner->depth < parser->depth)
            if (close_frame(parser, err) < 0)
                return -1;
        return 0;
    }
    if (!frame->commands)
        return 0;
    switch (unit->kind) {
    case RSC_SEPARATOR:
        return finish(parser, err);
    case RSC_BLANK:
    case RSC_CONTINUATION:
    case RSC_COMMENT:
        frame->in_word = false;
        return 0;
    case RSC_TOO_DEEP:
        return 0;
    default:
        return grow_word(parser, unit, err);
    }
}

int rsc_parser_end(struct rsc_parser *parser, struct chr_error *err)
{
    while (parser->depth > 0)
        if (close_frame(parser, err) < 0)
            return -1;
    return finish(parser, err);
}

struct rsc_parser *rsc_parser_new(const char *text, rsc_statement_fn *each, void *context,
                                  struct chr_error *err)
{
    struct rsc_parser *parser = mem_new(1, sizeof *parser, err);

    if (parser == NULL)
        return NULL;
    parser->text = text;
    parser->each = each;
    parser->context = context;
    parser->frames[0] = (struct frame){.commands = true, .runs = true};
    return parser;
}

void rsc_parser_free(struct rsc_parser *parser)
{
    free(parser->words);
    free(parser);
}
