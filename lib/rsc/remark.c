/* Lists of remarks. */
#include "rsc/remark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsc/text.h"

int rsc_remark(struct rsc_remarks *remarks, enum chr_lint_severity severity, const char *id,
               size_t off, struct chr_error *err, const char *format, ...)
{
    struct rsc_remark *remark;
    va_list args;

    if (remarks->count == RSC_REMARKS_MAX)
        return 0;
    if (mem_grow(&remarks->items, &remarks->capacity, remarks->count, sizeof *remark, err) < 0)
        return -1;
    remark = &remarks->items[remarks->count++];
    *remark = (struct rsc_remark){.severity = severity, .id = id, .off = off};
    va_start(args, format);
    (void)vsnprintf(remark->text, sizeof remark->text, format, args);
    va_end(args);
    rsc_text_make_sound(remark->text, strlen(remark->text)); /* it may quote half a character */
    return 0;
}

void rsc_remarks_release(struct rsc_remarks *remarks)
{
    free(remarks->items);
    *remarks = (struct rsc_remarks){0};
}
