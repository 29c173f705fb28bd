/* The service under the system's own manager: a systemd unit, or a launchd property list on macOS. */
#ifndef PN_CLI_UNIT_H
#define PN_CLI_UNIT_H

#include <stdbool.h>
#include <stddef.h>

struct pn_unit {
    bool launchd;           /* and not systemd */
    bool system;            /* for the machine and not for the user */
    bool print;             /* only shows what would be written */
    char *const *arguments; /* (n) of `pantry serve` */
    int n;
};

/* Whether this system has launchd. */
bool pn_unit_is_launchd(void);
/* These print what they do, and the command that comes next. Exit status. */
int pn_unit_install(const struct pn_unit *unit);
int pn_unit_remove(const struct pn_unit *unit);

#endif
