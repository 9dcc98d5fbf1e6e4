/* The two faces of an inspection report. */
#ifndef CHRIMG_IMGTOOL_INFO_H
#define CHRIMG_IMGTOOL_INFO_H

#include "chrimg.h"

void info_print_text(const char *path, const struct chr_report *report);

/* Returns the exit code. */
int info_print_json(const char *path, const struct chr_report *report);

#endif
