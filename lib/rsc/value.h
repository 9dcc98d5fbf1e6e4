/*
 * What the words of a statement say, where that is known before it runs: not for
 * variables and expressions, nor for what a reference stands for.
 */
#ifndef CHRIMG_RSC_VALUE_H
#define CHRIMG_RSC_VALUE_H

#include "rsc/script.h"
#include "rsc/statement.h"

enum rsc_answer { RSC_UNKNOWN, RSC_YES, RSC_NO };

/* Whether a value that a reference stands for is in [OFF, OFF + LEN) of the script's text. */
bool rsc_has_reference(const struct rsc_script *script, size_t off, size_t len);

/* The same, or a hidden section: no message may show this. */
bool rsc_is_hidden(const struct rsc_script *script, size_t off, size_t len);

/* Whether word I is KEY=... */
bool rsc_word_has_key(const struct rsc_statement *statement, size_t i, const char *key);

/* The value of KEY, without quotes; false when it is not there, not known or does not fit. */
bool rsc_value_text(const struct rsc_script *script, const struct rsc_statement *statement,
                    const char *key, char *out, size_t size);

/* The value of KEY as yes or no. */
enum rsc_answer rsc_answer_of(const struct rsc_script *script,
                              const struct rsc_statement *statement, const char *key);

/* Whether a word of the command, or numbers=, is NAME, or a list such as "ssh,www" with it. */
bool rsc_names(const struct rsc_script *script, const struct rsc_statement *statement,
               const char *name);

/*
 * Whether the command is for NAME: "disable ssh,www", "numbers=ssh", "[find]",
 * "[find name=ssh]", "[find name!=ssh]", "[find name~"ssh|www"]".  What is not known
 * is taken for somebody else.
 */
bool rsc_targets(const struct rsc_script *script, const struct rsc_statement *statement,
                 const char *name);

#endif
