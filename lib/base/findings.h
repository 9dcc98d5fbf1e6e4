/* A growing list of findings: what a reader noticed and did not stop at. */
#ifndef CHRIMG_BASE_FINDINGS_H
#define CHRIMG_BASE_FINDINGS_H

#include "base/error.h"

struct findings {
    struct chr_finding *items;
    size_t count;
    size_t capacity;
};

/*
 * Add one.  ID is a stable word for programs ("gpt-overlap"), a string literal;
 * the rest is the sentence for people.
 */
int findings_add(struct findings *findings, enum chr_severity severity, const char *id,
                 struct chr_error *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

bool findings_has(const struct findings *findings, const char *id);

void findings_release(struct findings *findings);

#endif
