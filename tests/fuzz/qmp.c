/*
 * QMP: what a server says, in pieces of any length.  The first byte says how long the
 * pieces are; what is parsed must not depend on it.
 */
#include "fuzz.h"
#include "vm/observe.h"
#include "vm/qmp_parser.h"

/* Feed all of BYTES in pieces of STEP; how many messages there were, and -1 - that for an error. */
static long parse(const char *bytes, size_t size, size_t step)
{
    struct qmp_parser parser = {0};
    long found = 0;

    for (size_t at = 0; at < size;) {
        struct qmp_message message = {0};
        struct chr_error err = {0};
        size_t piece = min_u64(step, size - at);
        size_t consumed = 0;
        int result = qmp_parser_feed(&parser, bytes + at, piece, &consumed, &message, &err);

        MUST(consumed <= piece, "%zu of %zu", consumed, piece);
        MUST(parser.used <= QMP_LINE_MAX && parser.capacity <= 2 * QMP_LINE_MAX, "%zu bytes",
             parser.capacity);
        if (result < 0) {
            must_be_told(&err);
            found = -1 - found;
            break;
        }
        MUST(consumed > 0, "no progress");
        at += consumed;
        if (result == 0) {
            MUST(message.root == NULL, "a message that is none");
            continue;
        }
        MUST(message.root != NULL, "no message");
        MUST(message.kind != QMP_EVENT || message.name != NULL, "an event without a name");
        MUST(message.kind == QMP_EVENT || message.body != NULL, "an answer without a body");
        if (message.body != NULL && json_is_string(message.body))
            (void)vm_usernet_reach(json_string_value(message.body), 9180);
        qmp_message_release(&message);
        found++;
    }
    qmp_parser_release(&parser);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    long whole;
    long pieces;

    if (size < 1)
        return 0;
    whole = parse((const char *)data + 1, size - 1, size);
    pieces = parse((const char *)data + 1, size - 1, (size_t)data[0] + 1);
    MUST(whole == pieces, "%ld messages at once, %ld in pieces", whole, pieces);
    return 0;
}
