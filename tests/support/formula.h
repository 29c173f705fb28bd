/* Decoders written out as formulas, in double and without graph, plan or device. test_formulas compares every row of
 * src/model/archs.c with them. The table in formula_archs.c follows the published definitions; it shares neither code
 * nor names with the rows that it tests. */
#ifndef PN_TESTS_FORMULA_H
#define PN_TESTS_FORMULA_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    F_TOKENS = 12,
    F_VOCAB = 24,
    F_EMBD = 32,
    F_FF = 20,
    F_HEADS = 4,
    F_HEADS_KV = 2,
    F_EXPERTS = 8,
    F_USED = 3,
    F_FF_EXPERT = 12,
    F_CONTEXT = 64,
    F_SSM_INNER = 24,
    F_SSM_HEADS = 4,
    F_SSM_GROUPS = 2,
    F_SSM_STATE = 5,
    F_CONV = 3,
    F_KDA_DIM = 6,
    F_SAID_WIDTH = 6,
    F_MAX_LAYERS = 64,
    F_MAX_TENSORS = 2600,
    F_SLOTS = 8192
};

/* How a layer's parts are joined. */
enum f_order { F_PRE, F_POST, F_SANDWICH, F_BESIDE, F_BESIDE_IF_SAID, F_BESIDE_IF_ONE_NORM };
enum f_ffn { F_GATED, F_UP_DOWN, F_XIELU, F_MOE, F_MOE_PLAIN_DENSE, F_MOE_AND_MLP, F_MOE_OF_INPUT };
enum f_act { F_SILU, F_GELU, F_QUICK, F_RELU, F_RELU_SQUARED };
enum f_norms { F_RMS, F_LAYER, F_RMS_IF_SAID };
enum f_turn { F_PAIRS, F_HALVES, F_STILL };
/* Which layers rotate: all, those with a window, those and leading dense ones, none unless "finetuned". */
enum f_turns { F_TURN_ALL, F_TURN_LOCAL, F_TURN_LOCAL_OR_DENSE, F_TURN_IF_TUNED };
enum f_qk { F_QK_NONE, F_QK_HEAD, F_QK_HEAD_IF_THERE, F_QK_HEAD_LATE, F_QK_WHOLE, F_QK_WHOLE_IF_THERE, F_QK_LENGTH };
enum f_mixer { F_ATTENTION, F_LATENT, F_ALTERNATING };
enum f_recurrent { F_NOT_RECURRENT, F_MAMBA, F_MAMBA2, F_SHORT_CONVOLUTION, F_DELTA, F_KIMI_DELTA };
enum f_block { F_ATTENDS, F_RECURS, F_FEEDS };
enum f_gate { F_SOFTMAX = 1, F_SIGMOID, F_SOFTMAX_LATE }; /* the numbers in files */

struct f_arch {
    const char *name, *hf;
    enum f_mixer mixer;
    enum f_recurrent recurrent; /* in layers without keys */
    bool recurs_beside;         /* ... or beside attention, in all */
    bool one_block;             /* a layer is one block of the three */
    bool all_recur, recurrent_scales, delta_neighbours, query_gate;
    /* streams and norms */
    enum f_order order;
    enum f_norms norms;
    bool bare_norms, embedding_norm;
    const char *before_ffn, *after_attention, *after_ffn, *last; /* unusual names of norms */
    /* ends */
    double embedding_times;   /* unless the file says */
    bool embedding_root;      /* times sqrt(n_embd) */
    double residual_per_root; /* residual scale c / sqrt(layers), unless the file says */
    int logits;               /* -1: divided by the file's scale, 1: multiplied, 0: neither */
    double logit_scale, logit_width;
    bool cap_logits, tied;
    double cap_logits_at;
    const char *ignored; /* tensors that have no effect */
    /* attention */
    enum f_qk qk;
    bool value_norm, value_is_key, temperature, gate_softplus;
    double score_scale; /* unless the file says */
    const char *score_key;
    bool over_dim, cap_scores;
    double cap_scores_at, alibi;
    int alibi_layers, wide_layers, turn_layers, window_layers; /* only in models of that many layers */
    /* windows */
    int window, window_always, period; /* period 1000: the file must list the layers */
    bool global_first, chunked;
    int shares_layers; /* layers with their own keys unless the file says, -1: all; 0: whatever the file says */
    /* rotation */
    enum f_turn turn;
    enum f_turns turns;
    double local_base; /* unless the file says */
    bool local_unscaled, half_global, divided, halves_if_sections;
    int sections; /* 1: in blocks, 2: interleaved */
    int still_period;
    bool still_first;
    double yarn_unit;
    bool yarn_both, yarn_exact;
    /* feed-forward */
    enum f_ffn ffn;
    enum f_act act;
    int sparse_layers; /* gates of the first ones: only those sparse_by deviations above the mean stay */
    double sparse_by;
    bool ffn_scales, ffn_embd_wide, ffn_halved, limit_before, thinned;
    double limit_always;
    /* experts: a number is the default, a negative one holds whatever the file says */
    int gate;         /* one of f_gate */
    int renormalized; /* 2: as the file says, 1: always, 0: never */
    bool weigh_inputs, router_sees_input, root_half_with_mlp, half_with_shared;
};

extern const struct f_arch f_archs[];
extern const int f_n_archs;

/* Optional keys of a file; NAN: missing. X(field, key, kind, value in a tempting file) */
#define F_SAID(X)                                                                                                      \
    X(key_length, "attention.key_length", 'u', 12)                                                                     \
    X(value_length, "attention.value_length", 'u', 6)                                                                  \
    X(key_length_local, "attention.key_length_swa", 'u', 16)                                                           \
    X(value_length_local, "attention.value_length_swa", 'u', 4)                                                        \
    X(n_turning, "rope.dimension_count", 'u', 8)                                                                       \
    X(n_turning_local, "rope.dimension_count_swa", 'u', 4)                                                             \
    X(base, "rope.freq_base", 'f', 500)                                                                                \
    X(base_local, "rope.freq_base_swa", 'f', 70)                                                                       \
    X(factor, "rope.scaling.factor", 'f', 2.5)                                                                         \
    X(original, "rope.scaling.original_context_length", 'u', 16)                                                       \
    X(magnitude, "rope.scaling.attn_factor", 'f', 1.25)                                                                \
    X(beta_fast, "rope.scaling.yarn_beta_fast", 'f', 4)                                                                \
    X(beta_slow, "rope.scaling.yarn_beta_slow", 'f', 0.5)                                                              \
    X(ext, "rope.scaling.yarn_ext_factor", 'f', 0.75)                                                                  \
    X(log_multiplier, "rope.scaling.yarn_log_multiplier", 'f', 0.25)                                                   \
    X(tuned, "rope.scaling.finetuned", 'b', 0)                                                                         \
    X(score_scale, "attention.scale", 'f', 0.375)                                                                      \
    X(score_scale_grok, "attention.output_scale", 'f', 0.25)                                                           \
    X(value_scale, "attention.value_scale", 'f', 0.75)                                                                 \
    X(cap_scores, "attn_logit_softcapping", 'f', 0.5)                                                                  \
    X(cap_logits, "final_logit_softcapping", 'f', 0.75)                                                                \
    X(clamp, "attention.clamp_kqv", 'f', 0.75)                                                                         \
    X(alibi, "attention.max_alibi_bias", 'f', 5)                                                                       \
    X(logit_scale, "logit_scale", 'f', 0.625)                                                                          \
    X(residual_scale, "residual_scale", 'f', 0.75)                                                                     \
    X(embedding_scale, "embedding_scale", 'f', 1.375)                                                                  \
    X(temperature, "attention.temperature_scale", 'f', 0.5)                                                            \
    X(temperature_length, "attention.temperature_length", 'u', 4)                                                      \
    X(window, "attention.sliding_window", 'u', 3)                                                                      \
    X(beside, "use_parallel_residual", 'b', 0)                                                                         \
    X(shared_layers, "attention.shared_kv_layers", 'u', 1)                                                             \
    X(n_dense, "leading_dense_block_count", 'u', 1)                                                                    \
    X(groups, "expert_group_count", 'u', 4)                                                                            \
    X(groups_used, "expert_group_used_count", 'u', 2)                                                                  \
    X(gate, "expert_gating_func", 'u', 2)                                                                              \
    X(renormalize, "expert_weights_norm", 'b', 1)                                                                      \
    X(weights_scale, "expert_weights_scale", 'f', 1.5)                                                                 \
    X(limit_experts, "swiglu_clamp_exp", 'f', 0.25)                                                                    \
    X(limit, "swiglu_clamp_shexp", 'f', 0.125)                                                                         \
    X(loops, "num_loops", 'u', 2)                                                                                      \
    X(no_loop_norm, "skip_loop_final_norm", 'b', 1)                                                                    \
    X(kv_rank, "attention.kv_lora_rank", 'u', 10)                                                                      \
    X(q_rank, "attention.q_lora_rank", 'u', 14)                                                                        \
    X(key_length_mla, "attention.key_length_mla", 'u', 14)                                                             \
    X(value_length_mla, "attention.value_length_mla", 'u', 9)                                                          \
    X(top_k, "attention.indexer.top_k", 'u', 64)                                                                       \
    X(active, "altup.active_idx", 'u', 1)                                                                              \
    X(plain_norms, "ssm.dt_b_c_rms", 'b', 1)

struct f_said {
#define X(field, key, kind, value) double field;
    F_SAID(X)
#undef X
};

enum f_scaling { F_SCALING_MISSING, F_SCALING_NONE, F_SCALING_LINEAR, F_SCALING_NTK, F_SCALING_YARN };

struct f_tensor {
    char name[48];
    int n_mat, rows, cols;
    const float *data;
};

/* A file: its metadata and tensors. */
struct f_file {
    const struct f_arch *arch;
    int n_layer;               /* in the file */
    double rms_eps, layer_eps; /* NAN: missing */
    struct f_said said;
    enum f_scaling scaling;
    int sections[4];    /* all 0: missing */
    int period;         /* of windows, from the file; -1: missing */
    const bool *listed; /* ... or a list of the layers; NULL: missing */
    enum { F_WHOLE, F_NO_ATTENTION, F_NO_KEYS, F_NO_FFN } lacks[F_MAX_LAYERS];
    enum f_block blocks[F_MAX_LAYERS];
    double xielu[3]; /* alpha_p, alpha_n, beta */
    struct f_tensor tensors[F_MAX_TENSORS];
    int n_tensors;
    int slots[F_SLOTS]; /* number of a tensor + 1, by the hash of its name */
};

/* Adds a tensor whose data live as long as the file. */
void f_add(struct f_file *f, const char *name, int n_mat, int rows, int cols, const float *data);

/* The file's value, or `otherwise` if that is NAN. */
static inline double f_or(double said, double otherwise)
{
    return isnan(said) ? otherwise : said;
}

/* The tensor "blk.<layer>.<name>" ("<name>" where layer < 0) unless the architecture leaves it alone; NULL: none. */
const struct f_tensor *f_find(const struct f_file *f, int layer, const char *name);
bool f_is_local(const struct f_file *f, int layer);
int f_dim_k(const struct f_file *f, int layer);
int f_dim_v(const struct f_file *f, int layer);
/* Number of layers that run. */
int f_depth(const struct f_file *f);
bool f_has_router(const struct f_file *f, int layer);
/* logits (F_TOKENS, F_VOCAB) of the tokens, from position 0. */
void f_logits(const struct f_file *f, const int *ids, double *logits);

/* Feed-forward block of one token: x (F_EMBD), stream and layer input (F_EMBD) -> out (F_EMBD). formula_ffn.c */
void f_feed_forward(const struct f_file *f, int layer, const double *x, const double *stream, const double *input,
                    double *out);
/* Per-layer input of a token, to be added to x; false if there is none. formula_mixers.c */
bool f_layer_input(const struct f_file *f, int layer, int id, const double *embedding, const double *x, double *out);
/* All layers of alternating updates: x (F_TOKENS, F_EMBD), embeddings -> the last states. */
void f_alternate(const struct f_file *f, const int *ids, double *x);
/* Mixers over all tokens: x (F_TOKENS, F_EMBD) -> out. formula_attention.c, formula_recurrent.c */
void f_attend(const struct f_file *f, int layer, const double *x, double *out);
void f_recur(const struct f_file *f, int layer, const double *x, double *out);
void f_latent_attend(const struct f_file *f, int layer, const double *x, double *out);

/* ---- shared arithmetic: formula.c ---- */

/* "<name>.weight" x, times "<name>.scale" where `scale`, plus "<name>.bias" (the scale last where `late`), rows
 * first .. first + n - 1. Returns n. n 0: all rows. */
int f_project(const struct f_file *f, int layer, const char *name, const double *x, int first, int n, bool scale,
              bool late, double *out);
/* The architecture's norm of n values with weight and bias of that name, from value `first`. */
void f_norm(const struct f_file *f, int layer, const char *name, int n, const double *x, double *out);
void f_rms(double *x, int n, double eps);
bool f_uses_rms(const struct f_file *f);
double f_apply(enum f_act act, double x);
double f_sigmoid(double x);
double f_softplus(double x);

#endif
