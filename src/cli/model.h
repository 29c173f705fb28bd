/* The MODEL argument, and the options that all commands share which load one. */
#ifndef PN_CLI_MODEL_H
#define PN_CLI_MODEL_H

#include "cli/options.h"
#include "pantry.h"

#define PN_DEFAULT_MODEL "smollm2:135m"

/* What the tables below fill. */
struct pn_machine {
    struct pantry_model_options model;
    struct pantry_session_options session;
    uint64_t memory; /* 0: what the system leaves */
};
struct pn_machine pn_machine_default(void);

struct pn_cli_sampler {
    struct pantry_sampling sampling;
    int max_tokens;
    struct pn_text_list stop;
};
/* The library's defaults. What nobody gave is settled once the model is known: pn_cli_sampler_settle takes what the
 * makers of a model in the catalog recommend, pn_cli_sampler_draw_seed any seed. */
struct pn_cli_sampler pn_cli_sampler_default(void);
void pn_cli_sampler_settle(struct pn_cli_sampler *sampler, const char *model);
void pn_cli_sampler_draw_seed(struct pn_cli_sampler *sampler);
struct pantry_generate_options pn_cli_sampler_options(const struct pn_cli_sampler *sampler);

enum { PN_N_DEVICE_OPTIONS = 4, PN_N_SESSION_OPTIONS = 5, PN_N_SAMPLER_OPTIONS = 11 };
extern const struct pn_option pn_device_options[PN_N_DEVICE_OPTIONS];   /* of struct pn_machine */
extern const struct pn_option pn_session_options[PN_N_SESSION_OPTIONS]; /* of struct pn_machine */
extern const struct pn_option pn_cli_sampler_options_table[PN_N_SAMPLER_OPTIONS];

/* All of these report what is wrong and return an exit status. */

/* The file behind a name or path; a model of the catalog is fetched at first use. Caller frees *path. */
int pn_cli_find_model(const char *name, char **path);
int pn_cli_load_model(const char *name, const struct pn_machine *machine, pantry_model **model);
/* The whole file, "-" for standard input. Caller frees. */
int pn_cli_read_file(const char *path, size_t limit, char **text, size_t *len);

/* The arguments with spaces between them, as a shell's echo does. Caller frees. */
int pn_cli_join(char *const *words, size_t n, char **text, size_t *len);

#endif
