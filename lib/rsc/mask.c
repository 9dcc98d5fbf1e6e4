/* A script as it may be shown. */
#include <stdio.h>
#include <string.h>

#include "rsc/script.h"
#include "rsc/text.h"

static const char mask[] = "***";

/* Longer than any heading of a hidden section, its number of lines included. */
#define HIDDEN_SIZE 64

struct writer {
    char *text;
    size_t len;
};

static void put(struct writer *writer, const char *bytes, size_t len)
{
    if (len > 0)
        memcpy(writer->text + writer->len, bytes, len);
    writer->len += len;
}

static void put_hidden(struct writer *writer, size_t lines)
{
    char text[HIDDEN_SIZE];

    (void)snprintf(text, sizeof text, "# %s: %zu line%s, not shown\n", mask, lines,
                   lines == 1 ? "" : "s");
    put(writer, text, strlen(text));
}

/* [FROM, TO) with the values of EDITS as ***; *NEXT is the first edit that is not behind FROM. */
static void put_masked(struct writer *writer, const struct rsc_script *script, size_t from,
                       size_t to, size_t *next)
{
    for (; *next < script->edits.count && script->edits.items[*next].off < to; (*next)++) {
        const struct rsc_edit *edit = &script->edits.items[*next];

        if (!edit->hidden || edit->off < from)
            continue;
        put(writer, script->text.data + from, edit->off - from);
        put(writer, mask, strlen(mask));
        from = edit->off + edit->len;
    }
    put(writer, script->text.data + from, to - from);
}

char *rsc_script_mask(const struct rsc_script *script, struct chr_error *err)
{
    size_t room = script->text.len + script->edits.count * strlen(mask) +
                  script->section_count * HIDDEN_SIZE + 1;
    struct writer writer = {.text = mem_new(1, room, err)};
    size_t next = 0;

    if (writer.text == NULL)
        return NULL;
    for (size_t i = 0; i < script->section_count; i++) {
        const struct rsc_section *section = &script->sections[i];
        size_t end = i + 1 < script->section_count ? script->sections[i + 1].head
                                                   : script->text.len;

        put(&writer, script->text.data + section->head, section->begin - section->head);
        if (section->hidden)
            put_hidden(&writer, rsc_text_lines(script->text.data + section->begin,
                                               end - section->begin));
        else
            put_masked(&writer, script, section->begin, end, &next);
    }
    writer.text[writer.len] = '\0';
    rsc_text_make_sound(writer.text, writer.len);
    return writer.text;
}
