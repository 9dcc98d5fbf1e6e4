/*
 * Commands after which nobody can log in, or nothing is left to log in to.
 *
 * What a script does to services, users and the firewall is followed from the state
 * of a fresh router, so that a user who is removed after another was added is fine.
 */
#ifndef CHRIMG_RSC_LOCKOUT_H
#define CHRIMG_RSC_LOCKOUT_H

#include "rsc/script.h"
#include "rsc/statement.h"

#define RSC_SERVICE_COUNT 7
#define RSC_USERS_MAX 64
#define RSC_USER_NAME_MAX 64

struct rsc_user {
    char name[RSC_USER_NAME_MAX];
    bool full;     /* may change everything */
    bool disabled;
};

/* Where the firewall may drop all that comes to the router. */
enum rsc_table { RSC_FILTER_IPV4, RSC_FILTER_IPV6, RSC_RAW_IPV4, RSC_RAW_IPV6, RSC_TABLE_COUNT };

struct rsc_rules {
    bool accepted; /* a rule lets somebody in */
    bool dropped;  /* one that drops all stands where no rule before it does, */
    size_t off;    /* here */
};

struct rsc_lockout {
    const struct rsc_script *script;
    bool services[RSC_SERVICE_COUNT]; /* which are on */
    bool loopback[RSC_SERVICE_COUNT]; /* which are for the router itself alone */
    size_t last_service; /* where the last of them was turned off; 0: never */
    struct rsc_user users[RSC_USERS_MAX];
    size_t user_count;
    bool unknown_user;   /* one whose name or rights are not known, but who may do */
    size_t last_user;    /* where the last full one was taken away; 0: never */
    struct rsc_rules rules[RSC_TABLE_COUNT];
};

/* Follow what STATEMENT does to the firewall. */
void rsc_firewall_take(struct rsc_rules rules[RSC_TABLE_COUNT], const struct rsc_script *script,
                       const struct rsc_statement *statement);

/* Remark on what is dropped in the end. */
int rsc_firewall_end(const struct rsc_rules rules[RSC_TABLE_COUNT], struct rsc_remarks *remarks,
                     struct chr_error *err);

void rsc_lockout_begin(struct rsc_lockout *lockout, const struct rsc_script *script);

/* Follow STATEMENT; what locks out at once is remarked. */
int rsc_lockout_take(struct rsc_lockout *lockout, const struct rsc_statement *statement,
                     struct rsc_remarks *remarks, struct chr_error *err);

/* Remark on what is left when all has run. */
int rsc_lockout_end(const struct rsc_lockout *lockout, struct rsc_remarks *remarks,
                    struct chr_error *err);

#endif
