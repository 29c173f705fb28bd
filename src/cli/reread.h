/* Reading the settings again while the service runs. */
#ifndef PN_CLI_REREAD_H
#define PN_CLI_REREAD_H

#include "cli/settings.h"

#include <jansson.h>

struct pn_older_settings;

struct pn_reread {
    const struct pn_settings_given *given; /* the command line, which still goes before the file */
    const struct pn_settings *start, *now; /* those that the service began with, and the newest */
    struct pn_older_settings *read;        /* all that were read since: requests may still use them */
};

/* Reads all places again; *report says which settings changed, by when they count: "now", for models loaded from now on
 * ("next_load"), and "needs_restart". The caller decrefs it. After a failure r->now is as before. */
pantry_status pn_reread_settings(struct pn_reread *r, json_t **report, struct pantry_error *err);
void pn_reread_free(struct pn_reread *r);

#endif
