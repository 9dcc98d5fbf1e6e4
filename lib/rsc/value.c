/* Words as values. */
#include "rsc/value.h"

#include <string.h>

/* Longer values are none of the names that are asked for. */
#define VALUE_MAX 256

bool rsc_is_hidden(const struct rsc_script *script, size_t off, size_t len)
{
    for (size_t i = 0; i < script->section_count; i++) {
        const struct rsc_section *section = &script->sections[i];

        if (section->hidden && off < section->end && off + len > section->begin)
            return true;
    }
    return rsc_has_reference(script, off, len);
}

bool rsc_has_reference(const struct rsc_script *script, size_t off, size_t len)
{
    size_t low = 0;
    size_t high = script->edits.count;

    /* The first edit that ends behind OFF: they do not overlap. */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct rsc_edit *edit = &script->edits.items[middle];

        if (edit->off + edit->len <= off)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < script->edits.count && script->edits.items[low].off < off + len; low++)
        if (script->edits.items[low].hidden)
            return true;
    return false;
}

bool rsc_word_has_key(const struct rsc_statement *statement, size_t i, const char *key)
{
    const struct rsc_word *word = &statement->words[i];

    return word->has_key && strlen(key) == word->key_len &&
           memcmp(statement->text + word->off, key, word->key_len) == 0;
}

/* The text of a literal word or a part of it, without quotes. */
static bool literal_text(const struct rsc_script *script, const char *text, struct rsc_span span,
                         char *out, size_t size)
{
    const char *begin = text + span.off;

    if (rsc_has_reference(script, span.off, span.len))
        return false;
    if (span.len >= 2 && begin[0] == '"' && begin[span.len - 1] == '"') {
        begin++;
        span.len -= 2;
    }
    if (span.len >= size)
        return false;
    for (size_t i = 0; i < span.len; i++)
        if (strchr("\"\\$", begin[i]) != NULL) /* and NUL */
            return false;
    memcpy(out, begin, span.len);
    out[span.len] = '\0';
    return true;
}

bool rsc_value_text(const struct rsc_script *script, const struct rsc_statement *statement,
                    const char *key, char *out, size_t size)
{
    for (size_t i = statement->arguments; i < statement->count; i++) {
        const struct rsc_word *word = &statement->words[i];
        struct rsc_span span = {word->off + word->key_len + 1, word->len - word->key_len - 1};

        if (rsc_word_has_key(statement, i, key))
            return word->literal && literal_text(script, statement->text, span, out, size);
    }
    return false;
}

enum rsc_answer rsc_answer_of(const struct rsc_script *script,
                              const struct rsc_statement *statement, const char *key)
{
    char text[8];

    if (!rsc_value_text(script, statement, key, text, sizeof text))
        return RSC_UNKNOWN;
    return strcmp(text, "yes") == 0 || strcmp(text, "true") == 0    ? RSC_YES
           : strcmp(text, "no") == 0 || strcmp(text, "false") == 0 ? RSC_NO
                                                                    : RSC_UNKNOWN;
}

/* Whether NAME is in a list such as "ssh,www". */
static bool list_has(const char *list, char separator, const char *name)
{
    size_t length = strlen(name);

    for (;;) {
        const char *end = strchrnul(list, separator);

        if ((size_t)(end - list) == length && memcmp(list, name, length) == 0)
            return true;
        if (*end == '\0')
            return false;
        list = end + 1;
    }
}

/* Whether PATTERN, which is names and | with ^( and )$ around them at most, matches NAME. */
static bool pattern_matches(char *pattern, const char *name)
{
    bool from_start = pattern[0] == '^';
    size_t length;
    bool to_end;
    char *one;

    pattern += from_start;
    length = strlen(pattern);
    to_end = length > 0 && pattern[length - 1] == '$';
    if (to_end)
        pattern[--length] = '\0';
    if (length >= 2 && pattern[0] == '(' && pattern[length - 1] == ')') {
        pattern[length - 1] = '\0';
        pattern++;
    } else if ((from_start || to_end) && strchr(pattern, '|') != NULL) {
        return false; /* the signs belong to single names */
    }
    if (strpbrk(pattern, "^$().*+?[]{}\\") != NULL)
        return false;
    while ((one = strsep(&pattern, "|")) != NULL) {
        const char *found = strstr(name, one);

        if (from_start && to_end ? strcmp(name, one) == 0
            : from_start         ? found == name
            : to_end ? strlen(name) >= strlen(one) &&
                           strcmp(name + strlen(name) - strlen(one), one) == 0
                     : found != NULL)
            return true;
    }
    return false;
}

/* Whether SPAN is $VARIABLE of the loop around the statement. */
static bool is_loop_variable(const struct rsc_statement *statement, struct rsc_span span)
{
    const struct rsc_span *variable = &statement->loop.variable;

    return variable->len > 0 && span.len == variable->len + 1 &&
           statement->text[span.off] == '$' &&
           memcmp(statement->text + span.off + 1, statement->text + variable->off,
                  variable->len) == 0;
}

/* Whether NAME is in {ssh;"www"} or ssh,www; not known where there is a variable or expression. */
static bool loop_list_has(const struct rsc_script *script, const struct rsc_statement *statement,
                          const char *name)
{
    static const char between[] = "{};, \t\n\"";
    const struct rsc_span *list = &statement->loop.list;
    char text[VALUE_MAX];
    char *rest = text;
    char *one;

    if (list->len >= sizeof text || rsc_has_reference(script, list->off, list->len))
        return false;
    memcpy(text, statement->text + list->off, list->len);
    text[list->len] = '\0';
    if (strpbrk(text, "$[(\\") != NULL)
        return false;
    while ((one = strsep(&rest, between)) != NULL)
        if (strcmp(one, name) == 0)
            return true;
    return false;
}

static bool selection_targets(const struct rsc_script *script,
                              const struct rsc_statement *statement,
                              const struct rsc_selection *selection, const char *name)
{
    char text[VALUE_MAX];
    bool known = (selection->kind == RSC_SELECT_EQUAL ||
                  selection->kind == RSC_SELECT_NOT_EQUAL ||
                  selection->kind == RSC_SELECT_MATCH) &&
                 literal_text(script, statement->text, selection->value, text, sizeof text);

    switch (selection->kind) {
    case RSC_SELECT_ALL:
        return true;
    case RSC_SELECT_EQUAL:
        return known && strcmp(text, name) == 0;
    case RSC_SELECT_NOT_EQUAL:
        return known && strcmp(text, name) != 0;
    case RSC_SELECT_MATCH:
        return known && pattern_matches(text, name);
    default:
        return false;
    }
}

static bool is_looped(const struct rsc_script *script, const struct rsc_statement *statement,
                      const char *name)
{
    return selection_targets(script, statement, &statement->loop.selection, name) ||
           loop_list_has(script, statement, name);
}

bool rsc_names(const struct rsc_script *script, const struct rsc_statement *statement,
               const char *name)
{
    char text[VALUE_MAX];

    for (size_t i = statement->arguments; i < statement->count; i++) {
        const struct rsc_word *word = &statement->words[i];
        struct rsc_span whole = {word->off, word->len};

        if (!word->has_key && word->literal &&
            literal_text(script, statement->text, whole, text, sizeof text) &&
            list_has(text, ',', name))
            return true;
    }
    return rsc_value_text(script, statement, "numbers", text, sizeof text) &&
           list_has(text, ',', name);
}

bool rsc_targets(const struct rsc_script *script, const struct rsc_statement *statement,
                 const char *name)
{
    for (size_t i = statement->arguments; i < statement->count; i++) {
        const struct rsc_word *word = &statement->words[i];
        size_t key = word->has_key ? word->key_len + 1 : 0;
        struct rsc_span value = {word->off + key, word->len - key};

        if (word->has_key && !rsc_word_has_key(statement, i, "numbers"))
            continue;
        if (selection_targets(script, statement, &word->selection, name) ||
            ((is_loop_variable(statement, value) ||
              (word->selection.kind == RSC_SELECT_EQUAL &&
               is_loop_variable(statement, word->selection.value))) &&
             is_looped(script, statement, name)))
            return true;
    }
    return rsc_names(script, statement, name);
}
