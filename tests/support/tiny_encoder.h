/* Tiny random encoders, made by a seeded generator, with a vocabulary of letters. tests/golden/make_encoders.py
 * computes the expected results from the same files (test_embed --write FOLDER). */
#ifndef PN_TESTS_TINY_ENCODER_H
#define PN_TESTS_TINY_ENCODER_H

#include "gguf_writer.h"

enum {
    ENCODER_VOCAB = 64,
    ENCODER_EMBD = 32,
    ENCODER_HEADS = 4,
    ENCODER_FF = 48,
    ENCODER_LAYERS = 4,
    ENCODER_CONTEXT = 128,
    ENCODER_WINDOW = 8
};

/* The supported architectures, NULL at the end. */
extern const char *const tiny_encoders[];
/* `arch` must be one of them; caller frees with gw_free. */
void tiny_encoder_init(struct gw *g, const char *arch);
/* The path of a file that lives as long as the test's temporary folder. */
const char *tiny_encoder(const char *arch);

#endif
