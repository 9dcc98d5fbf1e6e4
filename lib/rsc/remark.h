/* What lint has to say about a script, by position in its text. */
#ifndef CHRIMG_RSC_REMARK_H
#define CHRIMG_RSC_REMARK_H

#include "base/error.h"

/* More are not kept: nobody reads them, and each costs a look at the text. */
#define RSC_REMARKS_MAX 500

struct rsc_remark {
    enum chr_lint_severity severity;
    const char *id; /* a string literal */
    size_t off;     /* in the script, bytes */
    char text[CHR_FINDING_SIZE];
};

struct rsc_remarks {
    struct rsc_remark *items;
    size_t count;
    size_t capacity;
};

/* Add one, unless there are RSC_REMARKS_MAX already. */
int rsc_remark(struct rsc_remarks *remarks, enum chr_lint_severity severity, const char *id,
               size_t off, struct chr_error *err, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

void rsc_remarks_release(struct rsc_remarks *remarks);

#endif
