/* A service of this program's own, in a child process: for one user, with a key that nobody else has, on a free port of
 * this machine. It ends with this process, however that ends. */
#ifndef PN_CLI_BACKGROUND_H
#define PN_CLI_BACKGROUND_H

#include "cli/client.h"
#include "cli/model.h"
#include "server/keys.h"

#include <sys/types.h>

struct pn_background {
    pid_t pid;    /* 0: none */
    int lifeline; /* its end of file is the child's sign to stop; -1: none */
    char key[PN_KEY_TEXT + 1];
};

/* Starts it, with its file of keys in `folder`, and points *client at it. */
pantry_status pn_background_start(struct pn_background *background, const char *folder, struct pn_client *client,
                                  struct pantry_error *err);
/* Waits for its end. */
void pn_background_stop(struct pn_background *background);

#endif
