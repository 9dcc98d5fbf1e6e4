/* What the emitters share. */
#ifndef CHRIMG_VM_EMIT_PARTS_H
#define CHRIMG_VM_EMIT_PARTS_H

#include "vm/emit.h"
#include "vm/text.h"

/* Shell commands that make FILE unless it is there; fail when it cannot be right any more. */
void emit_make_file(struct text *text, const struct vm_host *host, const struct vm_file *file);

/* The options FROM..END as shell words, SEPARATOR before each option. */
void emit_option_words(struct text *text, const struct vm_option *options, size_t from, size_t end,
                       const char *separator);

/* The line that prepares PLAN's files and runs QEMU with -readconfig FILE and the REST. */
void emit_readconfig_line(struct text *text, const struct vm_host *host,
                          const struct vm_plan *plan, const char *file,
                          const struct vm_option *rest, size_t rest_count);

/* The first option NAME that has KEY = VALUE (KEY NULL: any); NULL for none. */
const struct vm_option *plan_option(const struct vm_plan *plan, const char *name, const char *key,
                                    const char *value);
/* Its property, NULL for none. */
const char *option_property(const struct vm_option *option, const char *key);

#endif
