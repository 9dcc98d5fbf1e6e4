/* Names of parameters and commands, statement by statement. */
#include "rsc/code_text.h"

#include <string.h>

/* Whether WORD is NAME, or its beginning of at least SHORTEST letters. */
static bool is_short_for(const char *word, size_t len, const char *name, size_t shortest)
{
    return len >= shortest && len <= strlen(name) && memcmp(word, name, len) == 0;
}

/* Source: the RouterOS manual, pages "Scripting", "Scheduler", "Netwatch", "PPP", "DHCP", "VRRP". */
static bool takes_code(const char *key, size_t len)
{
    static const char script[] = "-script";

    if (len > 3 && memcmp(key, "on-", 3) == 0) /* but a property of IPv6 prefixes */
        return !is_short_for(key, len, "on-link", 7);
    if (len > strlen(script) && memcmp(key + len - strlen(script), script, strlen(script)) == 0)
        return true;
    return is_short_for(key, len, "source", 3) || is_short_for(key, len, "script", 3) ||
           is_short_for(key, len, "command", 5) || is_short_for(key, len, "do", 2) ||
           is_short_for(key, len, "else", 4) || is_short_for(key, len, "up-script", 4) ||
           is_short_for(key, len, "down-script", 6) || is_short_for(key, len, "test-script", 6) ||
           is_short_for(key, len, "lease-script", 7);
}

/* Whether WORD is NAME, or its beginning of at least SHORTEST letters, with : or / in front. */
static bool is_command(const struct rsc_code_word *word, const char *name, size_t shortest)
{
    size_t sign = word->len > 0 && (word->text[0] == ':' || word->text[0] == '/');

    return is_short_for(word->text + sign, word->len - sign, name, shortest);
}

static bool runs_argument(const struct rsc_code_word *word)
{
    return is_command(word, "execute", 3) || is_command(word, "parse", 3) ||
           is_command(word, "do", 2) || is_command(word, "onerror", 3) ||
           is_command(word, "retry", 3) || is_command(word, "time", 4);
}

static void begin_statement(struct rsc_code_frame *frame)
{
    *frame = (struct rsc_code_frame){.kind = frame->kind, .code = frame->code};
}

static void look_at_command(struct rsc_code_frame *frame)
{
    if (frame->has_command || frame->kind == '"')
        return;
    frame->runs_argument = frame->runs_argument || runs_argument(&frame->word);
    frame->runs_in = frame->runs_in || is_command(&frame->word, "onerror", 3);
}

static void end_first_word(struct rsc_code_frame *frame)
{
    look_at_command(frame);
    frame->has_command = true;
}

static void put(struct rsc_code_word *word, char c)
{
    if (word->len < RSC_KEY_MAX)
        word->text[word->len++] = c;
}

static void begin_word(struct rsc_code_frame *frame)
{
    frame->blank = false;
    frame->split = false;
    frame->word.len = 0;
}

/* A blank may stand on either side of "=": what then is code in doubt is taken for it. */
static void take_blank(struct rsc_code_frame *frame)
{
    if (frame->line_begins)
        return;
    if (frame->word.len > 0)
        end_first_word(frame);
    if (frame->value || frame->key == RSC_DATA_KEY) {
        frame->key = RSC_NO_KEY;
        frame->value = false;
    }
    frame->blank = true;
}

/* The word goes on in the next line, or ends here: what then is code in doubt is taken for it. */
static void take_continuation(struct rsc_code_frame *frame)
{
    look_at_command(frame);
    frame->line_begins = true;
    frame->split = true;
    frame->rest.len = 0;
}

static bool names_code(const struct rsc_code_frame *frame, const struct rsc_code_word *word)
{
    return takes_code(word->text, word->len) ||
           (frame->runs_in && is_short_for(word->text, word->len, "in", 2));
}

/* "=": the word is a name, unless a value has begun before it. */
static void take_equals(struct rsc_code_frame *frame)
{
    bool code = (!frame->value && names_code(frame, &frame->word)) ||
                (frame->split && names_code(frame, &frame->rest));

    frame->key = code ? RSC_CODE_KEY : RSC_DATA_KEY;
    frame->value = false;
    frame->has_command = true;
    frame->split = false;
    frame->word.len = 0;
}

static void take_bare(struct rsc_code_frame *frame, char c)
{
    bool goes_on = !frame->blank;

    frame->line_begins = false;
    frame->blank = false;
    if (c == '=' && (!frame->value || (frame->split && names_code(frame, &frame->rest)))) {
        take_equals(frame);
        return;
    }
    if (frame->key != RSC_NO_KEY)
        frame->value = true;
    if (!goes_on)
        begin_word(frame);
    put(&frame->word, c);
    put(&frame->rest, c);
}

/* A byte of a string: it may be a name. */
static void take_text(struct rsc_code_frame *frame, char c)
{
    if (frame->line_begins && (c == ' ' || c == '\t'))
        return;
    frame->line_begins = false;
    put(&frame->word, c);
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

static void take_escape(struct rsc_code_frame *frame, const char *bytes, size_t len)
{
    char c = len == 3 ? (char)(hex_digit(bytes[1]) << 4 | hex_digit(bytes[2]))
             : strchr("_abfnrtv", bytes[1]) != NULL ? ' ' : bytes[1]; /* in no name */

    if (c == '"')
        frame->inner_string = !frame->inner_string;
    frame->line_begins = false;
    put(&frame->word, c);
}

static void open_frame(struct rsc_code_text *code, char kind)
{
    struct rsc_code_frame *outer = &code->frames[code->depth];
    /* exe"cute", or "execute" */
    bool within = kind == '"' && !outer->blank && (outer->word.len > 0 || !outer->has_command);
    bool runs;

    if (within)
        look_at_command(outer);
    else
        end_first_word(outer);
    runs = rsc_code_text_here(code);
    if (!within)
        begin_word(outer);
    rsc_code_text_take_value(code);
    code->frames[++code->depth] = (struct rsc_code_frame){
        .kind = kind, .code = outer->code || (runs && kind != '{')};
}

/* What was open is closed; a string is a part of the word around it. */
static void close_frames(struct rsc_code_text *code, size_t depth)
{
    struct rsc_code_frame *frame = &code->frames[depth];
    const struct rsc_code_frame *inner = frame + 1;

    code->depth = depth;
    for (size_t i = 0; inner->kind == '"' && i < inner->word.len; i++) {
        put(&frame->word, inner->word.text[i]);
        put(&frame->rest, inner->word.text[i]);
    }
}

void rsc_code_text_take(struct rsc_code_text *code, const struct rsc_unit *unit,
                        const struct rsc_scanner *scanner)
{
    const char *bytes = scanner->text + unit->off;
    struct rsc_code_frame *frame = &code->frames[code->depth];

    if (scanner->depth > code->depth) {
        open_frame(code, scanner->open[scanner->depth - 1].kind);
        return;
    }
    if (scanner->depth < code->depth) {
        close_frames(code, scanner->depth);
        return;
    }
    switch (unit->kind) {
    case RSC_SEPARATOR:
        begin_statement(frame);
        break;
    case RSC_BLANK:
    case RSC_COMMENT:
        take_blank(frame);
        break;
    case RSC_CONTINUATION:
        take_continuation(frame);
        break;
    case RSC_TEXT:
        take_text(frame, bytes[0]);
        break;
    case RSC_BARE:
        take_bare(frame, bytes[0]);
        break;
    case RSC_ESCAPE:
        take_escape(frame, bytes, unit->len);
        break;
    default:
        break;
    }
}

void rsc_code_text_take_value(struct rsc_code_text *code)
{
    struct rsc_code_frame *frame = &code->frames[code->depth];

    if (frame->blank)
        begin_word(frame);
    frame->line_begins = false;
    frame->value = frame->key != RSC_NO_KEY;
}

bool rsc_code_text_here(const struct rsc_code_text *code)
{
    const struct rsc_code_frame *frame = &code->frames[code->depth];

    return frame->code || frame->key == RSC_CODE_KEY ||
           (frame->runs_argument && frame->key == RSC_NO_KEY);
}

bool rsc_code_text_in_inner_string(const struct rsc_code_text *code)
{
    return code->frames[code->depth].inner_string;
}
