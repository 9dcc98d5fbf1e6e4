/* QEMU's options, one by one, and the argument vector that they become. */
#ifndef CHRIMG_VM_ARGV_H
#define CHRIMG_VM_ARGV_H

#include "vm/plan.h"
#include "vm/text.h"

/* A list under construction; want of memory is remembered and told at the end. */
struct argv_list {
    struct vm_option *items;
    size_t count;
    size_t capacity;
    bool failed;
};

/* "-name": an option without a value. */
void argv_flag(struct argv_list *list, const char *name);

/* "-name VALUE", which QEMU takes as it is. */
void argv_raw(struct argv_list *list, const char *name, const char *value);

/*
 * "-name VALUE,...": the first property, whose key is implied ("driver" of -device).
 * More follow with argv_property().  VALUE may hold any character.
 */
void argv_option(struct argv_list *list, const char *name, const char *key, const char *value);
/* "-name ...": properties that all come with their keys. */
void argv_keyed_option(struct argv_list *list, const char *name);
/* Add to the last option. */
void argv_property(struct argv_list *list, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* -accel and -cpu, and with KVM the guest agent's channel at AGENT_SOCKET. */
void argv_add_accel(struct argv_list *list, enum chr_accel accel, const char *cpu,
                    const char *agent_socket);

/* The list into PLAN's options; and PLAN's argv from them. */
int argv_take(struct argv_list *list, struct vm_plan *plan, struct chr_error *err);

/* BINARY and the list as an argument vector that ends with NULL; free with argv_free(). */
int argv_make(const char *binary, const struct argv_list *list, char ***argv, struct chr_error *err);
void argv_free(char **argv);

/* The value of OPTION as one argument, commas within values doubled. */
void argv_add_value(struct text *text, const struct vm_option *option);

void argv_release(struct argv_list *list);
void argv_free_options(struct vm_option *options, size_t count);

#define AUTO_ARGV CLEANUP(argv_release)

#endif
