/* A text as windows of equal length, each read with an empty context: for perplexity and importances. */
#ifndef PN_ENGINE_WINDOWS_H
#define PN_ENGINE_WINDOWS_H

#include "pantry.h"

struct pn_windows {
    pantry_model *model;
    pantry_session *session;
    int32_t *ids; /* of all windows, as in the text */
    int n_context, n_windows, n_vocab;
    int32_t bos;   /* replaces the first token of each window; -1: nothing does */
    float *logits; /* (n_context, n_vocab): of the window that was read last */
};

/* Tokenizes the text, or takes `ids` (n of them) if they are given. n_context 0: 512; max_windows 0: all. After an
 * error pn_windows_free frees everything. PANTRY_INVALID: less than one window. */
pantry_status pn_windows_open(struct pn_windows *windows, pantry_model *model, const char *text, size_t len,
                              const int32_t *ids, size_t n, int n_context, int max_windows, struct pantry_error *err);
/* Reads window i; its logits are then in `logits`. */
pantry_status pn_windows_read(struct pn_windows *windows, int i, struct pantry_error *err);
void pn_windows_free(struct pn_windows *windows);

/* The natural logarithm of the probability of `token` is logits[token] - this. */
double pn_windows_log_sum(const float *logits, int n_vocab);
/* The mean negative log probability of a window's second half. */
struct pn_window_sums {
    double nll, nll_squares;
    size_t n_tokens, n_top;
};
void pn_windows_add(const struct pn_windows *windows, int i, struct pn_window_sums *sums);

#endif
