/* What the service keeps of its user's rights. */
#ifndef PN_SERVER_RIGHTS_H
#define PN_SERVER_RIGHTS_H

#include "base/sandbox.h"
#include "server/settings.h"

struct pn_rights {
    const char *const *folders;                /* that may be read besides, up to NULL; may be NULL */
    const struct pn_adapter_setting *adapters; /* (n_adapters): their files may be read, too */
    size_t n_adapters;
    const char *tls_cert, *tls_key; /* may be NULL */
    const char *config;             /* the file of the settings; may be NULL */
    const char *socket;             /* a unix socket, which is removed at the end; NULL: none */
    const char *cache;              /* a folder that may be written too; NULL: none */
};

/* After this the process can read the system's folders, its own, and other programs' model caches; write to
 * the folder of models and to cache/ in its own one, which it creates; and start no programs. */
pantry_status pn_rights_drop(const struct pn_rights *rights, struct pn_sandbox_held *held, struct pantry_error *err);

#endif
