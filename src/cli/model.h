/* The MODEL argument, and the options that all commands share which load one. */
#ifndef PN_CLI_MODEL_H
#define PN_CLI_MODEL_H

#include "cli/options.h"
#include "pantry.h"

#include <stdio.h>

#define PN_DEFAULT_MODEL "qwen2.5-coder:1.5b"

/* What the tables below fill. */
struct pn_machine {
    struct pantry_model_options model;
    struct pantry_session_options session;
    uint64_t memory; /* 0: what the system leaves */
};
struct pn_machine pn_machine_default(void);

/* Most tokens of an answer when nobody says how many: enough for any answer, and little where a model has no chat
 * template and so does not know when to end. */
enum { PN_TOKENS_UNSET = -2, PN_TOKENS_CHAT = 4096, PN_TOKENS_BASE = 256 };

struct pn_cli_sampler {
    struct pantry_sampling sampling;
    int max_tokens; /* PN_TOKENS_UNSET: nobody said; -1 or 0: no limit */
    struct pn_text_list stop;
};
/* The library's defaults. What nobody gave is settled once the model is known: pn_cli_sampler_settle takes what the
 * makers of a model in the catalog recommend, pn_cli_sampler_draw_seed any seed. */
struct pn_cli_sampler pn_cli_sampler_default(void);
void pn_cli_sampler_settle(struct pn_cli_sampler *sampler, const char *model);
void pn_cli_sampler_draw_seed(struct pn_cli_sampler *sampler);
/* `chat`: a chat template says where an answer ends. */
struct pantry_generate_options pn_cli_sampler_options(const struct pn_cli_sampler *sampler, bool chat);
/* True if the answer should end when it repeats itself: nobody asked for a number of tokens. */
bool pn_cli_stops_repeating(const struct pn_cli_sampler *sampler);
/* On `out`: why the answer ended early, if it did, for the reader of a terminal. */
void pn_cli_put_cut(FILE *out, const struct pantry_stats *stats, const struct pn_cli_sampler *sampler, bool chat);

enum { PN_N_DEVICE_OPTIONS = 4, PN_N_SESSION_OPTIONS = 5, PN_N_SAMPLER_OPTIONS = 11 };
extern const struct pn_option pn_device_options[PN_N_DEVICE_OPTIONS];   /* of struct pn_machine */
extern const struct pn_option pn_session_options[PN_N_SESSION_OPTIONS]; /* of struct pn_machine */
extern const struct pn_option pn_cli_sampler_options_table[PN_N_SAMPLER_OPTIONS];

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
