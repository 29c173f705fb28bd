/* The MODEL argument, and the options of all commands that load a model. */
#ifndef PN_CLI_MODEL_H
#define PN_CLI_MODEL_H

#include "cli/options.h"
#include "pantry.h"
#include "store/carried.h"

#define PN_DEFAULT_MODEL "qwen2.5-coder:1.5b"

/* The target of the tables below. */
struct pn_machine {
    struct pantry_model_options model;
    struct pantry_session_options session;
    uint64_t memory; /* 0: what is free */
    struct pn_text_list adapters;
};
struct pn_machine pn_machine_default(void);

enum { PN_N_DEVICE_OPTIONS = 7, PN_N_SESSION_OPTIONS = 5 };
extern const struct pn_option pn_device_options[PN_N_DEVICE_OPTIONS];   /* of struct pn_machine */
extern const struct pn_option pn_session_options[PN_N_SESSION_OPTIONS]; /* of struct pn_machine */

/* These report errors and return an exit status. */

/* Resolves a name or path; at first use, fetches a model of the catalog, and pulls one whose name says where it is (a
 * registry's host or namespace, or Hugging Face). Caller frees *path. */
int pn_cli_find_model(const char *name, char **path);
/* On standard error, after an unknown name: how to find a known one. */
void pn_cli_put_where_models_are(const char *name);
/* The first of the options for models in this process (pn_device_options, and those of pn_session_options but --ctx)
 * that is set; NULL: none. */
const char *pn_cli_local_option(const struct pn_machine *machine);
/* Size of the model of a name or path, as in `pantry list`; 0 if it is a folder, or in parts outside of the store. */
uint64_t pn_cli_model_bytes(const char *name);
int pn_cli_load_model(const char *name, const struct pn_machine *machine, pantry_model **model);
/* The same, and what the model of the store carries. Call pn_carried_free also after a failure. */
int pn_cli_load_carried(const char *name, const struct pn_machine *machine, pantry_model **model,
                        struct pn_carried *carried);
/* The adapters that the model carries, then the user's, ended by NULL: at most `most` - 1, borrowed. Returns `out`. */
enum { PN_MAX_ADAPTERS = 2 * PN_LIST_MAX };
const char *const *pn_cli_adapters(const struct pn_machine *machine, const struct pn_carried *carried, const char **out,
                                   size_t most);
/* Reads a whole file; "-": standard input. Caller frees *text. */
int pn_cli_read_file(const char *path, size_t limit, char **text, size_t *len);

/* Joins the words with spaces, as a shell's echo does. Caller frees *text. */
int pn_cli_join(char *const *words, size_t n, char **text, size_t *len);

#endif
