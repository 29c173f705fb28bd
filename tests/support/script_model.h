/* A model with scripted answers: its logits depend on the position alone.
 *
 * Its only layer has zero weights, between learned positions and the output matrix. At position p the logit of token j
 * is table[p][j], to about five digits, whatever the tokens are. So the answer to a prompt of n tokens begins at row
 * n - 1. */
#ifndef PN_TESTS_SCRIPT_MODEL_H
#define PN_TESTS_SCRIPT_MODEL_H

#include "gguf_writer.h"

enum { SCRIPT_CONTEXT = 128, SCRIPT_EMBD = 2 * SCRIPT_CONTEXT, SCRIPT_HEADS = 4, SCRIPT_MAX_VOCAB = 128 };

/* The file, with room for changes before gw_file: `table` is (SCRIPT_CONTEXT, n_vocab). It has no tokenizer. */
void script_model_init(struct gw *g, const float *table, int n_vocab);
/* A byte-level tokenizer whose token i prints the bytes of pieces[i], or is a control token if they are like <this>;
 * `eos` may be -1. */
void script_tokenizer(struct gw *g, const char *const *pieces, int n_vocab, int eos);

/* A complete model that answers pieces[0], pieces[1], ... and then <eos>: the path of the file, ids[i] for pieces[i].
 * Token 0 prints "?" and is for prompts, token 1 is <eos>; equal pieces are one token. */
const char *script_model(const char *file, const char *const *pieces, int n_pieces, int32_t *ids);

#endif
