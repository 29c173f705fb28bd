/* What the keys of the prefix cache begin with: everything besides the tokens that keys, values and states depend on.
 */
#ifndef PN_ENGINE_DISK_IDENTITY_H
#define PN_ENGINE_DISK_IDENTITY_H

#include "engine/disk_file.h"
#include "engine/runner.h"

/* A hash of the format's version, the content of the model file, the devices, the layout of pages and states, and the
 * user's changes of the rotation. PANTRY_UNSUPPORTED: the model is not in a file. The pool must exist. */
pantry_status pn_disk_identity(const struct pn_runner *runner, const struct pn_rope_override *rope,
                               struct pn_disk_key *out, struct pantry_error *err);
/* The key of a model's prefixes before their first token: of its identity, the rotation that was decided, and `owner`,
 * the key of the prefix tree, so that nothing of one owner is found for another. False: no memory. */
bool pn_disk_root(const struct pn_disk_key *identity, int rotation, const char *owner, struct pn_disk_key *out);

#endif
