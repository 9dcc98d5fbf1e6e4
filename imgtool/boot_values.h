/* Values of the options of boot and run; each function takes optarg. */
#ifndef CHRIMG_IMGTOOL_BOOT_VALUES_H
#define CHRIMG_IMGTOOL_BOOT_VALUES_H

#include "boot_options.h"

/* Decimal digits up to END, at most LIMIT; -1 for anything else. */
long boot_number(const char *text, const char *end, long limit);

/* 0, or the exit code with the message said. */
int boot_take_net(const struct command *command, struct chr_boot_options *options);
int boot_take_forward(const struct command *command, struct chr_boot_options *options);
int boot_take_listen(const struct command *command, struct chr_boot_options *options);
int boot_take_vfio(const struct command *command, struct chr_boot_options *options);

#endif
