/* The parts of pantry_convert: convert.c chooses, convert_gguf.c writes GGUF files, convert_dir.c directories. */
#ifndef PN_ENGINE_CONVERT_H
#define PN_ENGINE_CONVERT_H

#include "base/threads.h"
#include "format/gguf_write.h"
#include "format/weights.h"

struct pn_convert {
    const char *in, *out;
    struct pantry_convert_options options;
    struct pn_weights *w;
    struct pn_pool *pool;
    int n_threads;
    struct pantry_convert_result result;
    uint64_t bytes_done;
};

pantry_status pn_convert_to_gguf(struct pn_convert *c, struct pantry_error *err);
pantry_status pn_convert_to_mlx(struct pn_convert *c, struct pantry_error *err);
pantry_status pn_convert_to_hf(struct pn_convert *c, struct pantry_error *err);

/* Reports tensor `i` of n, and says whether to go on: PANTRY_CANCELLED. */
pantry_status pn_convert_report(struct pn_convert *c, const char *name, const char *from, const char *to, size_t i,
                                size_t n, uint64_t bytes, struct pantry_error *err);

/* ---- convert_meta.c, convert_vocab.c: metadata of a directory, as GGUF files have it ---- */

pantry_status pn_convert_meta(struct pn_convert *c, int file_type, struct pn_gguf_meta *meta, struct pantry_error *err);
/* The tokenizer and the chat template of a directory; `n_vocab`: rows of the embedding. Finds the name of the
 * pre-tokenizer, and checks that probes give the ids that the directory's own tokenizer gives. */
pantry_status pn_convert_vocab(const struct pn_convert *c, size_t n_vocab, struct pn_gguf_meta *meta,
                               struct pantry_error *err);

/* ---- convert_exact.c: types that hold the same numbers ---- */

/* The GGUF type that holds exactly the numbers of a tensor in several planes; PN_TYPE_COUNT: none. */
pn_type pn_exact_type(const struct pn_tensor_info *tensor);
/* A row of such a tensor in that type. */
void pn_exact_row(const struct pn_tensor_info *tensor, int64_t mat, int64_t row, pn_type to, void *dst);

#endif
