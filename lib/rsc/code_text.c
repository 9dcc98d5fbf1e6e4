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

static bool runs_argument(const char *word, size_t len)
{
    size_t sign = len > 0 && (word[0] == ':' || word[0] == '/');

    return is_short_for(word + sign, len - sign, "execute", 3) ||
           is_short_for(word + sign, len - sign, "parse", 3);
}

static void begin_statement(struct rsc_code_frame *frame)
{
    *frame = (struct rsc_code_frame){.kind = frame->kind, .code = frame->code};
}

static void end_first_word(struct rsc_code_frame *frame)
{
    if (!frame->has_command)
        frame->runs_argument = runs_argument(frame->word, frame->word_len);
    frame->has_command = true;
}

/* A blank may stand on either side of "=": what then is code in doubt is taken for it. */
static void take_blank(struct rsc_code_frame *frame)
{
    if (frame->word_len > 0)
        end_first_word(frame);
    if (frame->value || frame->key == RSC_DATA_KEY) {
        frame->key = RSC_NO_KEY;
        frame->value = false;
    }
    frame->blank = true;
}

static void take_bare(struct rsc_code_frame *frame, char c)
{
    bool goes_on = !frame->blank;

    frame->blank = false;
    if (c == '=' && !frame->value) {
        frame->key = takes_code(frame->word, frame->word_len) ? RSC_CODE_KEY : RSC_DATA_KEY;
        frame->has_command = true;
        frame->word_len = 0;
        return;
    }
    if (frame->key != RSC_NO_KEY)
        frame->value = true;
    if (!goes_on)
        frame->word_len = 0;
    if (frame->word_len < RSC_KEY_MAX)
        frame->word[frame->word_len++] = c;
}

static void open_frame(struct rsc_code_text *code, char kind)
{
    struct rsc_code_frame *outer = &code->frames[code->depth];
    bool runs;

    end_first_word(outer);
    runs = rsc_code_text_here(code);
    rsc_code_text_take_value(code);
    code->frames[++code->depth] = (struct rsc_code_frame){
        .kind = kind, .code = outer->code || (runs && kind != '{')};
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
        code->depth = scanner->depth;
        return;
    }
    switch (unit->kind) {
    case RSC_SEPARATOR:
        begin_statement(frame);
        break;
    case RSC_BLANK:
    case RSC_CONTINUATION:
    case RSC_COMMENT:
        take_blank(frame);
        break;
    case RSC_BARE:
        take_bare(frame, bytes[0]);
        break;
    case RSC_ESCAPE:
        if (bytes[1] == '"' || (unit->len == 3 && memcmp(bytes, "\\22", 3) == 0))
            frame->inner_string = !frame->inner_string;
        break;
    default:
        break;
    }
}

void rsc_code_text_take_value(struct rsc_code_text *code)
{
    struct rsc_code_frame *frame = &code->frames[code->depth];

    frame->blank = false;
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
