/* A tiny random model, made by a seeded generator: the same numbers here and in tests/golden/make_tiny_model.py, which
 * computes its logits independently. */
#ifndef PN_TESTS_TINY_MODEL_H
#define PN_TESTS_TINY_MODEL_H

#include "gguf_writer.h"

enum {
    TINY_VOCAB = 64,
    TINY_EMBD = 32,
    TINY_HEADS = 4,
    TINY_HEADS_KV = 2,
    TINY_HEAD_DIM = 8,
    TINY_FF = 48,
    TINY_LAYERS = 3,
    TINY_CONTEXT = 256
};

/* "llama": rotation in pairs, RMS norms, SiLU; "gemma3": rotation in halves, head norms, post norms, windows of 8
 * tokens in two of three layers, GELU; "qwen3": halves and head norms. `type` is GW_F32 or GW_F16. Returns the path of
 * a file that lives as long as the test's temporary folder. */
const char *tiny_model(const char *arch, uint32_t type, const char *file);
/* The same in memory, for tests that change it before it is written: caller frees with gw_free. */
void tiny_model_init(struct gw *g, const char *arch, uint32_t type);
/* A "llama" of one layer with heads of 32 values, as q8_0 needs for keys and values. */
const char *tiny_wide_model(void);

#endif
