/* From offsets to lines and columns, past what was put in. */
#include "rsc/position.h"

#include <string.h>

#include "rsc/text.h"

static size_t section_at(const struct rsc_script *script, size_t off)
{
    size_t index = 0;

    while (index + 1 < script->section_count && script->sections[index + 1].head <= off)
        index++;
    return index;
}

/* Characters of the source in [FROM, TO) of the script, which is within a line. */
static size_t source_characters(const struct rsc_script *script, size_t from, size_t to)
{
    size_t characters = 0;

    for (size_t i = 0; i < script->edits.count && script->edits.items[i].off < to; i++) {
        const struct rsc_edit *edit = &script->edits.items[i];

        if (edit->off < from)
            continue;
        characters += rsc_text_characters(script->text.data + from, edit->off - from);
        if (edit->off + edit->len > to) /* in the middle of a value: its reference */
            return characters;
        characters += edit->source_len;
        from = edit->off + edit->len;
    }
    return characters + rsc_text_characters(script->text.data + from, to - from);
}

struct rsc_position rsc_position_of(const struct rsc_script *script, size_t off)
{
    struct rsc_position position = {.section = section_at(script, off), .line = 1};
    const struct rsc_section *section = &script->sections[position.section];
    const char *text = script->text.data;
    const char *newline;
    size_t line_begin = section->begin;

    if (off < section->begin)
        off = section->begin;
    if (off > section->end)
        off = section->end;
    position.line += rsc_text_lines(text + section->begin, off - section->begin);
    newline = off > section->begin ? memrchr(text + section->begin, '\n', off - section->begin)
                                   : NULL;
    if (newline != NULL)
        line_begin = (size_t)(newline + 1 - text);
    position.column = 1 + source_characters(script, line_begin, off);
    return position;
}
