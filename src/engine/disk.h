/* The prefix cache on disk, as the engine's thread sees it: prefixes of ended requests are saved to a folder, and a
 * prompt that memory does not know is looked up there.
 *
 * Saving holds references to pages and states until they are copied to a buffer, some bytes per step. Memory that is
 * short takes them back, and the prefix is not saved. A request waits for its own load only. Only prefixes whose key
 * is the caller's are saved, as sessions get new keys.
 *
 * Only the engine's thread uses it, except for pn_disk_new and pn_disk_free. */
#ifndef PN_ENGINE_DISK_H
#define PN_ENGINE_DISK_H

#include "engine/disk_folder.h"
#include "engine/sequence.h"

struct pn_disk;
struct pn_disk_load;

/* `wake` wakes the engine's thread; any thread may call it. The folder is borrowed. */
pantry_status pn_disk_new(struct pn_disk_folder *folder, const struct pn_rope_override *rope, struct pn_seq_memory *m,
                          void (*wake)(void *user), void *user, struct pn_disk **out, struct pantry_error *err);
void pn_disk_free(struct pn_disk *disk);

/* Saves a prefix that has just been put into the tree, in the background. */
void pn_disk_save(struct pn_disk *disk, const char *key, const int32_t *ids, int n);
/* Begins to load what the folder has of a prompt, or sees whether it has arrived; then it is in the tree. `resumes`:
 * tokens that memory has. `token_ns`: the time to read a token of a prompt; 0: unknown. *load is NULL at first. False:
 * there is nothing to wait for; *load is NULL, and *loaded says how many tokens memory has now. */
bool pn_disk_wait(struct pn_disk *disk, struct pn_disk_load **load, const char *key, const int32_t *ids, int n,
                  int resumes, double token_ns, int *loaded);
void pn_disk_forget(struct pn_disk *disk, struct pn_disk_load *load);
/* Copies pages and states from and to buffers; if requests are running, only some, and true if there are more.
 * Allocates nothing. */
bool pn_disk_step(struct pn_disk *disk, bool busy);
/* Writes what is to be saved, for some seconds at most. */
void pn_disk_flush(struct pn_disk *disk);

#endif
