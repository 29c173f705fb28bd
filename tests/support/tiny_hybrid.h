/* Tiny random models with recurrent layers: all recurrent blocks, alone or with attention. */
#ifndef PN_TESTS_TINY_HYBRID_H
#define PN_TESTS_TINY_HYBRID_H

#include "gguf_writer.h"

enum { HYBRID_VOCAB = 48, N_HYBRIDS = 5 };

/* "mamba" and "mamba2" have only recurrent layers, the others one recurrent layer and one with attention. */
extern const char *const tiny_hybrids[N_HYBRIDS];
/* `arch` must be one of them. The path of a file that lives as long as the test's temporary folder. */
const char *tiny_hybrid(const char *arch);

#endif
