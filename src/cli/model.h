/* The MODEL argument, and the options that all commands share which load one. */
#ifndef PN_CLI_MODEL_H
#define PN_CLI_MODEL_H

#include "cli/options.h"
#include "pantry.h"

#define PN_DEFAULT_MODEL "qwen2.5-coder:1.5b"

/* What the tables below fill. */
struct pn_machine {
    struct pantry_model_options model;
    struct pantry_session_options session;
    uint64_t memory; /* 0: what the system leaves */
};
struct pn_machine pn_machine_default(void);

enum { PN_N_DEVICE_OPTIONS = 4, PN_N_SESSION_OPTIONS = 5 };
extern const struct pn_option pn_device_options[PN_N_DEVICE_OPTIONS];   /* of struct pn_machine */
extern const struct pn_option pn_session_options[PN_N_SESSION_OPTIONS]; /* of struct pn_machine */

/* All of these report what is wrong and return an exit status. */

/* The file behind a name or path; a model of the catalog is fetched at first use. Caller frees *path. */
int pn_cli_find_model(const char *name, char **path);
/* Bytes of the file behind a name or path, as `pantry list` says; 0 where it is not one file. */
uint64_t pn_cli_model_bytes(const char *name);
int pn_cli_load_model(const char *name, const struct pn_machine *machine, pantry_model **model);
/* The whole file, "-" for standard input. Caller frees. */
int pn_cli_read_file(const char *path, size_t limit, char **text, size_t *len);

/* The arguments with spaces between them, as a shell's echo does. Caller frees. */
int pn_cli_join(char *const *words, size_t n, char **text, size_t *len);

#endif
