/* Lists of findings. */
#include "base/findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int findings_add(struct findings *findings, enum chr_severity severity, const char *id,
                 struct chr_error *err, const char *format, ...)
{
    struct chr_finding *finding;
    va_list args;

    if (mem_grow(&findings->items, &findings->capacity, findings->count, sizeof *findings->items,
                 err) < 0)
        return -1;
    finding = &findings->items[findings->count++];
    finding->severity = severity;
    finding->id = id;
    va_start(args, format);
    (void)vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    return 0;
}

bool findings_has(const struct findings *findings, const char *id)
{
    for (size_t i = 0; i < findings->count; i++)
        if (strcmp(findings->items[i].id, id) == 0)
            return true;
    return false;
}

void findings_release(struct findings *findings)
{
    free(findings->items);
    *findings = (struct findings){0};
}
