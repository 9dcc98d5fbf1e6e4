/* QMP lines to messages. */
#include "vm/qmp_parser.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY ((size_t)4096)

static int not_qmp(struct chr_error *err, const char *what)
{
    return err_set(err, CHR_E_IO, "what answers is no QMP: %s", what);
}

static int append(struct qmp_parser *parser, const char *bytes, size_t count,
                  struct chr_error *err)
{
    size_t capacity = parser->capacity != 0 ? parser->capacity : FIRST_CAPACITY;
    char *grown;

    if (count > QMP_LINE_MAX - parser->used)
        return not_qmp(err, "a line of more than 1 MiB");
    while (capacity < parser->used + count)
        capacity *= 2;
    if (capacity > parser->capacity) {
        grown = realloc(parser->line, capacity);
        if (grown == NULL)
            return err_set(err, CHR_E_MEMORY, "out of memory for an answer of QEMU");
        parser->line = grown;
        parser->capacity = capacity;
    }
    if (count > 0)
        memcpy(parser->line + parser->used, bytes, count);
    parser->used += count;
    return 0;
}

/* Which of the four it is; what each must hold is checked here, so that users need not. */
static int classify(struct qmp_message *message, struct chr_error *err)
{
    json_t *root = message->root;
    json_t *id = json_object_get(root, "id");

    if (!json_is_object(root))
        return not_qmp(err, "a line that is no JSON object");
    message->id = json_is_integer(id) && json_integer_value(id) > 0
                      ? (uint64_t)json_integer_value(id)
                      : 0;
    message->name = NULL;
    if ((message->body = json_object_get(root, "return")) != NULL) {
        message->kind = QMP_RETURN;
        return 0;
    }
    if ((message->body = json_object_get(root, "error")) != NULL) {
        message->kind = QMP_ERROR;
        return json_is_string(json_object_get(message->body, "desc"))
                   ? 0
                   : not_qmp(err, "an error without a description");
    }
    if ((message->body = json_object_get(root, "QMP")) != NULL) {
        message->kind = QMP_GREETING;
        return json_is_object(message->body) ? 0 : not_qmp(err, "a greeting that is no object");
    }
    message->name = json_string_value(json_object_get(root, "event"));
    message->body = json_object_get(root, "data");
    message->kind = QMP_EVENT;
    return message->name != NULL ? 0 : not_qmp(err, "an object that is no message");
}

static int parse_line(struct qmp_parser *parser, struct qmp_message *message,
                      struct chr_error *err)
{
    json_error_t problem;

    message->root = json_loadb(parser->line, parser->used, 0, &problem);
    parser->used = 0;
    if (message->root == NULL)
        return not_qmp(err, "a line that is no JSON");
    if (classify(message, err) == 0)
        return 1;
    qmp_message_release(message);
    return -1;
}

static bool is_blank(const struct qmp_parser *parser)
{
    for (size_t i = 0; i < parser->used; i++)
        if (strchr(" \t\r\n", parser->line[i]) == NULL || parser->line[i] == '\0')
            return false;
    return true;
}

int qmp_parser_feed(struct qmp_parser *parser, const char *bytes, size_t count, size_t *consumed,
                    struct qmp_message *message, struct chr_error *err)
{
    *consumed = 0;
    while (*consumed < count) {
        const char *from = bytes + *consumed;
        const char *end = memchr(from, '\n', count - *consumed);
        size_t length = end != NULL ? (size_t)(end - from) + 1 : count - *consumed;

        if (append(parser, from, length, err) < 0)
            return -1;
        *consumed += length;
        if (end == NULL)
            return 0;
        if (!is_blank(parser))
            return parse_line(parser, message, err);
        parser->used = 0;
    }
    return 0;
}

void qmp_parser_release(struct qmp_parser *parser)
{
    free(parser->line);
    *parser = (struct qmp_parser){0};
}

void qmp_message_release(struct qmp_message *message)
{
    json_decref(message->root);
    *message = (struct qmp_message){0};
}
