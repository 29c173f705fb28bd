/* Every bound of a model's metadata: the smallest and largest values are accepted, and the next ones give an error that
 * names the key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_writer.h"
#include "model/hparams.h"
#include "model/model.h"

/* ---- files of a few words ---- */

static void add_list(struct gw *g, const char *key, const char *text)
{
    bool floats = strchr(text, '.') != NULL;
    int32_t integers[32];
    float numbers[32];
    uint64_t n = 0;
    for (char *at = (char *)text + 1; *at && *at != ']'; at += *at == ',', n++) {
        double value = strtod(at, &at);
        numbers[n] = (float)value;
        integers[n] = (int32_t)value;
    }
    gw_array(g, key, floats ? GW_FLOAT32 : GW_INT32, n, floats ? (void *)numbers : (void *)integers, 4);
}

/* 12 or -3: an integer; 1.5: a number; yes or no: a bool; [1,2]: a list of integers; [1.5,2.5]: of numbers; else a
 * string. */
static void add(struct gw *g, const char *key, const char *value)
{
    char *end;
    long long integer = strtoll(value, &end, 10);
    if (*end == '\0' && integer >= 0 && integer <= UINT32_MAX) {
        gw_u32(g, key, (uint32_t)integer);
        return;
    }
    if (*end == '\0') {
        gw_i64(g, key, integer);
        return;
    }
    float number = strtof(value, &end);
    if (*end == '\0')
        gw_f32(g, key, number);
    else if (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0)
        gw_bool(g, key, value[0] == 'y');
    else if (value[0] == '[')
        add_list(g, key, value);
    else
        gw_str(g, key, value);
}

/* The words "key=value" of `text`, without those whose key comes again later. A key that begins with / has no prefix,
 * others get the architecture's name; "key=" adds nothing. */
static void add_words(struct gw *g, const char *arch, const char *text)
{
    char word[256], key[384];
    for (const char *at = text; *(at += strspn(at, " "));) {
        size_t len = strcspn(at, " "), name = strcspn(at, "=");
        const char *next = at + len;
        assert_true(name < len && len < sizeof word);
        snprintf(word, sizeof word, "%.*s", (int)len, at);
        word[name] = '\0';
        while ((next = strstr(next, word)) && !(next[-1] == ' ' && next[name] == '='))
            next += name;
        if (*word == '/')
            snprintf(key, sizeof key, "%s", word + 1);
        else
            snprintf(key, sizeof key, "%s.%s", arch, word);
        if (!next && len > name + 1)
            add(g, key, word + name + 1);
        at += len;
    }
}

static const char usual[] = "block_count=2 embedding_length=32 context_length=64 attention.head_count=4 "
                            "attention.layer_norm_rms_epsilon=0.01 attention.layer_norm_epsilon=0.01";

struct result {
    pantry_status status;
    struct pn_hparams hp;
    struct pn_layer_hparams first, last; /* of its layers */
    char text[sizeof(struct pantry_error)];
};

/* Reads the hyper-parameters of such a file. */
static struct result read(const char *arch, const char *words)
{
    struct result r = {0};
    struct pantry_error err = {0};
    struct pn_weights *w;
    struct pn_arena arena = {0};
    struct gw g;
    char all[1024];
    gw_init(&g);
    gw_str(&g, "general.architecture", arch);
    snprintf(all, sizeof all, "%s %s", usual, words);
    add_words(&g, arch, all);
    gw_constant(&g, "token_embd.weight", GW_F32, 2, (const int64_t[]){3, 32}, 1);
    const char *path = gw_file(&g, "words.gguf");
    gw_free(&g);
    if (pn_weights_open(path, &w, &err))
        fail_msg("%s", err.text);
    struct pn_arch row;
    assert_int_equal(pn_model_arch(w, &row, &err), PANTRY_OK);
    r.status = pn_hparams_read(w, &row, &arena, &r.hp, &err);
    snprintf(r.text, sizeof r.text, "%s", r.status ? err.text : "");
    if (!r.status) {
        r.first = r.hp.layers[0];
        r.last = r.hp.layers[r.hp.n_layer - 1];
    }
    r.hp.layers = NULL;
    pn_arena_free(&arena);
    pn_weights_close(w);
    return r;
}

static struct result takes(const char *arch, const char *words)
{
    struct result r = read(arch, words);
    if (r.status)
        fail_msg("%s with %s: %s", arch, words, r.text);
    return r;
}

static void refuses(const char *arch, const char *words, pantry_status status, const char *sentence)
{
    struct result r = read(arch, words);
    if (r.status != status || !strstr(r.text, sentence))
        fail_msg("%s with %s: status %d, \"%s\"; expected %d with \"%s\"", arch, words, r.status, r.text, status,
                 sentence);
}

/* ---- integers ---- */

enum { TWO_24 = 1 << 24, TWO_20 = 1 << 20, TWO_16 = 1 << 16 };
#define AT(field)    offsetof(struct result, field)
#define NO_ROTATION  "rope.dimension_count=0 "
#define STATE_SPACES "ssm.conv_kernel=4 "

static const struct {
    const char *arch, *key;
    int64_t low, high;
    size_t at; /* its offset in a result */
    const char *also;
} integers[] = {
    {"llama", "block_count", 1, 1024, AT(hp.n_layer), ""},
    {"llama", "embedding_length", 1, TWO_24, AT(hp.n_embd), NO_ROTATION "attention.key_length=8"},
    {"llama", "context_length", 1, INT32_MAX, AT(hp.n_context_train), ""},
    {"llama", "attention.head_count", 1, 4096, AT(last.n_head), "attention.key_length=8 attention.head_count_kv=1"},
    {"llama", "attention.head_count_kv", 1, 4096, AT(last.n_head_kv),
     "attention.key_length=8 attention.head_count=4096"},
    {"llama", "feed_forward_length", 0, TWO_24, AT(last.n_ff), ""},
    {"llama", "attention.key_length", 1, 4096, AT(last.dim_k), NO_ROTATION},
    {"llama", "attention.value_length", 1, 4096, AT(last.dim_v), ""},
    {"gemma3", "attention.key_length_swa", 1, 4096, AT(first.dim_k),
     NO_ROTATION "attention.sliding_window=8 attention.sliding_window_pattern=2"},
    {"gemma3", "attention.value_length_swa", 1, 4096, AT(first.dim_v), "attention.sliding_window=8"},
    {"llama", "rope.dimension_count", 0, 12, AT(hp.rope.n_rot), "attention.key_length=12"},
    {"gemma3", "rope.dimension_count_swa", 0, 20, AT(hp.rope.n_rot_local),
     "attention.sliding_window=8 attention.key_length_swa=20"},
    {"llama", "rope.scaling.original_context_length", 0, INT32_MAX, AT(hp.rope.n_context_original), ""},
    {"llama", "leading_dense_block_count", 0, 1024, AT(hp.n_dense), ""},
    {"llama", "expert_group_count", 0, 64, AT(hp.moe.n_groups), ""},
    {"llama", "expert_group_used_count", 0, 64, AT(hp.moe.n_groups_used), ""},
    {"llama", "expert_used_count", 0, 256, AT(last.n_used), "expert_count=256"},
    {"llama", "expert_count", 0, 4096, AT(hp.moe.n_expert), "expert_used_count=1"},
    {"deepseek2", "attention.kv_lora_rank", 0, TWO_20, AT(hp.mla.kv_rank), ""},
    {"deepseek2", "attention.q_lora_rank", 0, TWO_20, AT(hp.mla.q_rank), ""},
    {"deepseek2", "attention.key_length_mla", 0, 4096, AT(hp.mla.dim_k), ""},
    {"deepseek2", "attention.value_length_mla", 0, 4096, AT(hp.mla.dim_v), ""},
    {"deepseek32", "attention.indexer.top_k", 1, INT32_MAX, AT(hp.n_context_limit), ""},
    {"mamba2", "ssm.conv_kernel", 0, 256, AT(hp.recurrent.n_conv), ""},
    {"mamba2", "shortconv.l_cache", 0, 256, AT(hp.recurrent.n_conv), ""},
    {"mamba2", "ssm.inner_size", 0, TWO_24, AT(hp.recurrent.n_inner), STATE_SPACES},
    {"mamba2", "ssm.state_size", 0, TWO_16, AT(hp.recurrent.n_state), STATE_SPACES},
    {"mamba2", "ssm.time_step_rank", 0, TWO_20, AT(hp.recurrent.n_rank), STATE_SPACES},
    {"mamba2", "ssm.group_count", 0, TWO_16, AT(hp.recurrent.n_group), STATE_SPACES},
    {"kimi-linear", "kda.head_dim", 0, 4096, AT(hp.recurrent.kda_dim), STATE_SPACES},
    {"gemma2", "attention.sliding_window", 0, INT32_MAX, AT(hp.window), ""},
    {"t5", "attention.relative_buckets_count", 4, TWO_16, AT(hp.rel_buckets), ""},
    {"llama", "embedding_length_per_layer_input", 0, TWO_16, AT(hp.n_embd_layer), ""},
    {"gemma3n", "altup.num_inputs", 2, 64, AT(hp.altup.n_inputs), ""},
    {"gemma3n", "altup.active_idx", 0, 8, AT(hp.altup.active), "altup.num_inputs=9"},
};

static void integers_are_accepted_up_to_their_bounds(void **state)
{
    (void)state;
    char words[256], sentence[256];
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        const char *key = integers[i].key;
        bool none_means_missing = strcmp(key, "ssm.conv_kernel") == 0 || strcmp(key, "shortconv.l_cache") == 0;
        bool zero_contradicts = strcmp(key, "expert_count") == 0 || strcmp(key, "expert_used_count") == 0;
        const int64_t good[] = {none_means_missing || zero_contradicts ? 1 : integers[i].low, integers[i].high},
                      bad[] = {integers[i].low - 1, integers[i].high + 1};
        for (int j = 0; j < 2; j++) {
            snprintf(words, sizeof words, "%s %s=%lld", integers[i].also, key, (long long)good[j]);
            struct result r = takes(integers[i].arch, words);
            int got;
            memcpy(&got, (const char *)&r + integers[i].at, sizeof got);
            if (got != good[j])
                fail_msg("%s with %s: read as %d", integers[i].arch, words, got);
            snprintf(words, sizeof words, "%s %s=%lld", integers[i].also, key, (long long)bad[j]);
            snprintf(sentence, sizeof sentence, "%s.%s is %lld, but must be between %lld and %lld", integers[i].arch,
                     key, (long long)bad[j], (long long)integers[i].low, (long long)integers[i].high);
            refuses(integers[i].arch, words, PANTRY_FORMAT, sentence);
        }
    }
}

/* The layers of a file that run several times count each time. */
static void layers_are_counted_after_loops(void **state)
{
    (void)state;
    assert_int_equal(takes("llama", "block_count=64 num_loops=16").hp.n_layer, 1024);
    assert_int_equal(takes("llama", "block_count=64 num_loops=16").hp.n_stored, 64);
    assert_int_equal(takes("llama", "block_count=1024 num_loops=1").hp.n_layer, 1024);
    refuses("llama", "block_count=65 num_loops=16", PANTRY_LIMIT,
            "llama.num_loops is 16, which makes 1040 layers of 65, but at most 1024 are allowed");
    refuses("llama", "block_count=1024 num_loops=2", PANTRY_LIMIT, "llama.num_loops is 2, which makes 2048 layers");
    refuses("llama", "num_loops=16384", PANTRY_FORMAT, "llama.num_loops is 16384, but must be between 1 and 16");
    refuses("llama", "num_loops=17", PANTRY_FORMAT, "llama.num_loops is 17, but must be between 1 and 16");
    refuses("llama", "num_loops=0", PANTRY_FORMAT, "llama.num_loops is 0, but must be between 1 and 16");
    assert_true(takes("llama", "num_loops=2").hp.loop_norm);
    assert_false(takes("llama", "num_loops=2 skip_loop_final_norm=yes").hp.loop_norm);
    assert_false(takes("llama", "num_loops=1").hp.loop_norm);
}

static void layers_that_predict_further_are_left_out(void **state)
{
    (void)state;
    assert_int_equal(takes("llama", "block_count=5 nextn_predict_layers=4").hp.n_layer, 1);
    assert_int_equal(takes("llama", "block_count=5 nextn_predict_layers=0").hp.n_layer, 5);
    refuses("llama", "block_count=5 nextn_predict_layers=5", PANTRY_FORMAT,
            "llama.nextn_predict_layers is 5, but there are 5 layers");
    refuses("llama", "nextn_predict_layers=1025", PANTRY_FORMAT, "llama.nextn_predict_layers is 1025");
    refuses("llama", "nextn_predict_layers=-1", PANTRY_FORMAT, "llama.nextn_predict_layers is -1");
}

static void missing_keys_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *key;
    } needed[] = {{"llama", "block_count"},
                  {"llama", "embedding_length"},
                  {"llama", "context_length"},
                  {"llama", "attention.head_count"},
                  {"llama", "attention.layer_norm_rms_epsilon"},
                  {"gpt2", "attention.layer_norm_epsilon"},
                  {"cohere2", "attention.sliding_window"},
                  {"gpt-oss", "attention.sliding_window"},
                  {"maple", "attention.sliding_window"},
                  {"spark2_5", "attention.sliding_window"},
                  {"deepseek32", "attention.indexer.top_k"},
                  {"glm-dsa", "attention.indexer.top_k"},
                  {"t5", "attention.relative_buckets_count"}};
    char words[128], sentence[128];
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        snprintf(words, sizeof words, "%s=", needed[i].key);
        snprintf(sentence, sizeof sentence, "%s.%s is missing; the model cannot be built without it", needed[i].arch,
                 needed[i].key);
        refuses(needed[i].arch, words, PANTRY_FORMAT, sentence);
    }
    takes("olmo2", "attention.sliding_window=");
    takes("deepseek2", "attention.indexer.top_k=");
    takes("gpt2", "attention.layer_norm_rms_epsilon=");
    takes("llama", "attention.layer_norm_epsilon=");
    assert_true(takes("llama", "attention.layer_norm_epsilon=").hp.norm_eps == 1e-5f);
    refuses("llama", "attention.head_count=64", PANTRY_FORMAT, "llama.attention.key_length is missing"); /* 32 values */
    refuses("mamba2", "attention.head_count=0", PANTRY_FORMAT,
            "mamba2.ssm.conv_kernel or mamba2.shortconv.l_cache is missing");
}

/* ---- relations between numbers ---- */

static void heads_share_keys_evenly(void **state)
{
    (void)state;
    assert_int_equal(
        takes("llama", "attention.head_count=6 attention.head_count_kv=3 rope.dimension_count=4").last.n_head_kv, 3);
    assert_int_equal(takes("llama", "").last.n_head_kv, 4); /* as many as there are heads */
    refuses("llama", "attention.head_count=6 attention.head_count_kv=4", PANTRY_FORMAT,
            "layer 0 has 6 query heads, which is not a multiple of its 4 key/value heads");
    refuses("llama", "attention.head_count=[4,4] attention.head_count_kv=[4,8]", PANTRY_FORMAT,
            "layer 1 has 4 query heads, which is not a multiple of its 8 key/value heads");
    refuses("granitehybrid", STATE_SPACES "attention.head_count=0 attention.head_count_kv=4", PANTRY_FORMAT,
            "layer 0 has neither heads nor a recurrent block");
    assert_true(takes("granitehybrid", STATE_SPACES "attention.head_count_kv=[0,4]").first.recurrent);
    assert_false(takes("granitehybrid", STATE_SPACES "attention.head_count_kv=[0,4]").last.recurrent);
    assert_int_equal(takes("deci", "attention.head_count=[0,4] attention.head_count_kv=[0,4]").first.n_head, 0);
    assert_int_equal(takes("deci", "attention.head_count=[0,4] attention.head_count_kv=[0,4]").hp.dim_k, 8);
}

static void experts_used_are_experts(void **state)
{
    (void)state;
    assert_int_equal(takes("llama", "expert_count=4 expert_used_count=4").last.n_used, 4);
    refuses("llama", "expert_count=4 expert_used_count=5", PANTRY_FORMAT,
            "llama.expert_used_count is 5, but there are 4 experts");
    refuses("llama", "expert_used_count=1", PANTRY_FORMAT, "llama.expert_used_count is 1, but there are 0 experts");
    refuses("llama", "expert_count=4", PANTRY_FORMAT,
            "llama.expert_used_count must be above 0, as there are 4 experts");
    refuses("llama", "expert_count=4 expert_used_count=[2,5]", PANTRY_FORMAT, "llama.expert_used_count is 5");
    assert_int_equal(takes("llama", "expert_count=4 expert_used_count=[0,1]").last.n_used, 1);
    static const enum pn_gate gates[] = {PN_GATE_SIGMOID, PN_GATE_SOFTMAX, PN_GATE_SIGMOID, PN_GATE_SOFTMAX_CHOSEN};
    for (int i = 0; i < 4; i++) {
        char words[64];
        snprintf(words, sizeof words, "expert_gating_func=%d", i);
        assert_int_equal(takes("dots1", words).hp.moe.gate, gates[i]); /* 0: from the row */
        assert_int_equal(takes("llama", words).hp.moe.gate, PN_GATE_SOFTMAX);
    }
    refuses("dots1", "expert_gating_func=4", PANTRY_FORMAT,
            "dots1.expert_gating_func is 4, but must be between 0 and 3");
    refuses("dots1", "expert_gating_func=-1", PANTRY_FORMAT, "dots1.expert_gating_func is -1");
    assert_true(takes("dots1", "expert_weights_scale=0.0").hp.moe.scale == 1); /* files write 0 for "none" */
    assert_true(takes("dots1", "expert_weights_scale=2.5").hp.moe.scale == 2.5f);
    assert_true(takes("dots1", "").hp.moe.scale == 1);
}

static void rotated_values_are_even_and_fit(void **state)
{
    (void)state;
    refuses("llama", "rope.dimension_count=7", PANTRY_FORMAT,
            "cannot rotate 7 values with a base of 10000: the number must be even");
    refuses("gemma3", "attention.sliding_window=8 rope.dimension_count_swa=3", PANTRY_FORMAT,
            "the number must be even");
    refuses("gemma3", "attention.sliding_window=8 attention.key_length_swa=6", PANTRY_FORMAT,
            "gemma3.rope.dimension_count is 8, but heads with a window have 6 values");
    takes("gemma3", "attention.sliding_window=8 attention.key_length_swa=6 rope.dimension_count=6");
    assert_int_equal(takes("step35", "rope.dimension_count=4").hp.rope.n_rot, 2); /* half of it */
    assert_int_equal(takes("step35", "rope.dimension_count=4").hp.rope.n_rot_local, 4);
    refuses("llama", "rope.freq_base=1.0", PANTRY_FORMAT, "the base above 1");
    refuses("gemma3", "rope.freq_base_swa=1.0", PANTRY_FORMAT, "the base above 1");
    takes("llama", "rope.freq_base=1.0001");
    takes("gemma3", "rope.freq_base_swa=1.0001");
    assert_true(takes("llama", "").hp.rope.freq_base == 10000);
    assert_true(takes("llama", "rope.freq_base=500.0").hp.rope.freq_base_local == 500);
    assert_true(takes("gemma3", "rope.freq_base=500.0").hp.rope.freq_base_local == 10000);
}

static void ways_to_stretch_are_known(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "linear", "ntk", "yarn", "longrope"};
    char words[128];
    for (int i = 0; i < 5; i++) {
        snprintf(words, sizeof words, "rope.scaling.type=%s", names[i]);
        assert_int_equal(takes("llama", words).hp.rope.scaling, PN_ROPE_SCALING_NONE + i);
    }
    assert_int_equal(takes("llama", "").hp.rope.scaling, PN_ROPE_SCALING_LINEAR);
    refuses("llama", "rope.scaling.type=yarns", PANTRY_UNSUPPORTED,
            "llama.rope.scaling.type is \"yarns\"; none, linear, ntk");
    refuses("llama", "rope.scaling.type=yar", PANTRY_UNSUPPORTED, "llama.rope.scaling.type is \"yar\"");
    refuses("llama", "rope.scaling.type=3", PANTRY_FORMAT,
            "llama.rope.scaling.type is an integer, but must be a string");
    refuses("llama", "rope.scaling.factor=-0.5", PANTRY_FORMAT,
            "llama.rope.scaling.factor is -0.5, but must be above 0");
    assert_true(takes("llama", "rope.scaling.factor=0.0").hp.rope.factor == 1);
    assert_true(takes("llama", "rope.scaling.factor=0.5").hp.rope.factor == 0.5f);
    assert_true(takes("llama", "rope.scale_linear=4.0").hp.rope.factor == 4);
    assert_true(takes("llama", "rope.scale_linear=4.0 rope.scaling.factor=2.0").hp.rope.factor == 2);
    static const char *const bad[] = {"original_context_length=0", "yarn_beta_fast=0.0", "yarn_beta_slow=0.0"};
    for (int i = 0; i < 3; i++) {
        snprintf(words, sizeof words, "rope.scaling.type=yarn rope.scaling.%s", bad[i]);
        refuses("llama", words, PANTRY_FORMAT,
                "llama.rope.scaling: yarn needs an original context length and betas above 0");
        snprintf(words, sizeof words, "rope.scaling.type=linear rope.scaling.%s", bad[i]);
        takes("llama", words);
    }
    takes("llama", "rope.scaling.type=yarn rope.scaling.original_context_length=1 rope.scaling.yarn_beta_fast=0.01 "
                   "rope.scaling.yarn_beta_slow=0.01");
    assert_true(takes("llama", "rope.scaling.yarn_ext_factor=-1.0").hp.rope.yarn_ext_factor == 1);
    assert_true(takes("llama", "rope.scaling.yarn_ext_factor=0.0").hp.rope.yarn_ext_factor == 0);
}

static void sections_stay_in_heads(void **state)
{
    (void)state;
    struct result r = takes("qwen2vl", "rope.dimension_sections=[2,-3,5000,1,9]");
    assert_int_equal(r.hp.rope.sections[0], 2);
    assert_int_equal(r.hp.rope.sections[1], 0);
    assert_int_equal(r.hp.rope.sections[2], PN_MAX_HEAD_DIM);
    assert_int_equal(r.hp.rope.sections[3], 1);
    assert_int_equal(takes("qwen2vl", "rope.dimension_sections=[4096,1]").hp.rope.sections[0], 4096);
    assert_int_equal(takes("qwen2vl", "rope.dimension_sections=[4096,1]").hp.rope.sections[2], 0);
    assert_int_equal(takes("llama", "rope.dimension_sections=[2,1]").hp.rope.sections[0], 0);
}

/* ---- windows ---- */

static void windows_are_the_files_or_the_rows(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *words;
        int window;
    } cases[] = {{"gemma2", "", 4096},
                 {"gemma2", "attention.sliding_window=7", 7},
                 {"gemma2", "attention.sliding_window=0", 0},
                 {"exaone-moe", "", 128},
                 {"exaone4", "block_count=64", 4096},
                 {"exaone4", "block_count=63", 0},
                 {"exaone4", "block_count=63 attention.sliding_window=7", 0},
                 {"llama4", "", 8192},
                 {"llama4", "attention.sliding_window=7", 8192},
                 {"llama4", "attention.sliding_window=0", 0},
                 {"smallthinker", "attention.sliding_window=7", 4096},
                 {"smallthinker", "", 4096},
                 {"gemma3", "", 0},
                 {"llama", "attention.sliding_window=7", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (takes(cases[i].arch, cases[i].words).hp.window != cases[i].window)
            fail_msg("%s with %s has another window than %d", cases[i].arch, cases[i].words, cases[i].window);
    refuses("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=1025", PANTRY_FORMAT,
            "gemma3.attention.sliding_window_pattern is 1025, but must be between 0 and 1024");
    refuses("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=-1", PANTRY_FORMAT,
            "gemma3.attention.sliding_window_pattern is -1");
    assert_true(takes("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=1024").last.local);
    assert_true(takes("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=0").last.local);
    assert_false(takes("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=1").first.local);
    assert_false(takes("gemma3", "attention.sliding_window=0 attention.sliding_window_pattern=0").last.local);
    struct result r = takes("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=[0,2]");
    assert_true(!r.first.local && r.last.local);
    refuses("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=[1]", PANTRY_FORMAT,
            "gemma3.attention.sliding_window_pattern must be a list of 2 booleans, one per layer");
    refuses("gemma3", "attention.sliding_window=8 attention.sliding_window_pattern=[1.5,0.5]", PANTRY_FORMAT,
            "gemma3.attention.sliding_window_pattern must be a list of 2 booleans");
}

static void recurrent_layers_are_listed_or_counted(void **state)
{
    (void)state;
    refuses("qwen35", STATE_SPACES "full_attention_interval=0", PANTRY_FORMAT,
            "qwen35.full_attention_interval is 0, but must be between 1 and 1024");
    refuses("qwen35", STATE_SPACES "full_attention_interval=1025", PANTRY_FORMAT,
            "qwen35.full_attention_interval is 1025");
    assert_true(takes("qwen35", STATE_SPACES "full_attention_interval=1024").last.recurrent);
    assert_false(takes("qwen35", STATE_SPACES "full_attention_interval=1").first.recurrent);
    struct result r = takes("qwen35", STATE_SPACES "full_attention_interval=2");
    assert_true(r.first.recurrent && !r.last.recurrent);
    assert_false(takes("qwen35", STATE_SPACES "block_count=4").last.recurrent); /* default: every fourth is not */
    assert_true(takes("qwen35", STATE_SPACES "block_count=3").last.recurrent);
    r = takes("qwen35", STATE_SPACES "attention.recurrent_layers=[0,1]");
    assert_true(!r.first.recurrent && r.last.recurrent);
    refuses("qwen35", STATE_SPACES "attention.recurrent_layers=[1]", PANTRY_FORMAT,
            "qwen35.attention.recurrent_layers must be a list of 2 booleans, one per layer");
    assert_true(takes("mamba2", STATE_SPACES).last.recurrent);
    assert_false(takes("falcon-h1", STATE_SPACES).last.recurrent);
}

static void keys_are_shared_with_a_layer_of_the_kind(void **state)
{
    (void)state;
    const char *words = "block_count=3 attention.sliding_window=8 attention.sliding_window_pattern=[1,0,1] "
                        "attention.shared_kv_layers=1";
    assert_int_equal(takes("gemma4", words).last.kv_layer, 0);
    assert_int_equal(takes("gemma4", "block_count=3 attention.shared_kv_layers=2").last.kv_layer, 0);
    assert_int_equal(takes("gemma4", "block_count=3 attention.shared_kv_layers=1").last.kv_layer, 1);
    assert_int_equal(takes("gemma4", "block_count=3 attention.shared_kv_layers=0").last.kv_layer, 2);
    assert_int_equal(takes("gemma4", "block_count=3").last.kv_layer, 2);
    assert_int_equal(takes("llama", "block_count=3 attention.shared_kv_layers=1").last.kv_layer, 2);
    refuses("gemma4", "block_count=3 attention.shared_kv_layers=3", PANTRY_FORMAT,
            "gemma4.attention.shared_kv_layers is 3, but must be between 0 and 2");
    refuses("gemma4",
            "block_count=3 attention.sliding_window=8 attention.sliding_window_pattern=[0,0,1] "
            "attention.shared_kv_layers=1",
            PANTRY_FORMAT, "layer 2 has no keys and values of its own, and no layer of its kind is before layer 2");
    assert_int_equal(takes("gemma3n", "block_count=25").last.kv_layer, 19); /* 20 have their own */
    assert_int_equal(takes("gemma3n", "block_count=20").last.kv_layer, 19);
    assert_int_equal(takes("gemma3n", "block_count=19").last.kv_layer, 18);
}

/* ---- lists, one item per layer ---- */

static void lists_have_an_item_per_layer(void **state)
{
    (void)state;
    refuses("llama", "feed_forward_length=[5]", PANTRY_FORMAT,
            "llama.feed_forward_length must be a list of 2 integers, one per layer, but has 1 items");
    refuses("llama", "feed_forward_length=[5.5,6.5]", PANTRY_FORMAT,
            "llama.feed_forward_length must be a list of 2 integers");
    refuses("llama", "feed_forward_length=[5,-1]", PANTRY_FORMAT,
            "item 1 of llama.feed_forward_length is -1, but must be between 0 and 16777216");
    refuses("llama", "feed_forward_length=[5,16777217]", PANTRY_FORMAT,
            "item 1 of llama.feed_forward_length is 16777217");
    struct result r = takes(
        "llama", "feed_forward_length=[5,6,7]"); /* longer than the layers: for layers that predict further tokens */
    assert_int_equal(r.first.n_ff, 5);
    assert_int_equal(r.last.n_ff, 6);
    r = takes("llama", "swiglu_clamp_exp=[0.5,0.25] swiglu_clamp_shexp=0.125");
    assert_true(r.first.limit_experts == 0.5f && r.last.limit_experts == 0.25f && r.last.limit == 0.125f);
    refuses("llama", "swiglu_clamp_exp=[0.5]", PANTRY_FORMAT,
            "llama.swiglu_clamp_exp must be a number or a list of 2 numbers, one per layer");
    refuses("llama", "swiglu_clamp_shexp=3", PANTRY_FORMAT, "llama.swiglu_clamp_shexp must be a number or a list");
    refuses("apertus", "/xielu.beta=0.5 /xielu.alpha_p=0.5", PANTRY_FORMAT,
            "xielu.alpha_n must be a number or a list of 2");
    r = takes("apertus", "/xielu.beta=[0.5,0.25] /xielu.alpha_p=0.5 /xielu.alpha_n=0.5");
    assert_true(r.first.xielu_beta == 0.5f && r.last.xielu_beta == 0.25f);
    refuses("gemma3n", "activation_sparsity_scale=[0.5]", PANTRY_FORMAT,
            "gemma3n.activation_sparsity_scale must be a list of 2 numbers, one per layer");
    refuses("gemma3n", "activation_sparsity_scale=[1,2]", PANTRY_FORMAT,
            "gemma3n.activation_sparsity_scale must be a list");
    refuses("gemma3n", "activation_sparsity_scale=0.5", PANTRY_FORMAT,
            "gemma3n.activation_sparsity_scale must be a list");
    assert_true(takes("gemma3n", "activation_sparsity_scale=[0.5,0.25]").last.sparsity == 0.25f);
}

/* ---- numbers ---- */

static void numbers_are_accepted_up_to_their_bounds(void **state)
{
    (void)state;
    assert_true(takes("llama", "attention.max_alibi_bias=64.0").hp.alibi == 64);
    assert_true(takes("llama", "attention.max_alibi_bias=0.0").hp.alibi == 0);
    refuses("llama", "attention.max_alibi_bias=64.001", PANTRY_FORMAT,
            "llama.attention.max_alibi_bias is 64.001, but must be between 0 and 64");
    refuses("llama", "attention.max_alibi_bias=-0.001", PANTRY_FORMAT, "llama.attention.max_alibi_bias is -0.001");
    static const char *const epsilons[] = {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"};
    char words[96], sentence[128];
    for (int i = 0; i < 2; i++) {
        snprintf(words, sizeof words, "%s=0.0", epsilons[i]);
        takes("llama", words);
        snprintf(words, sizeof words, "%s=0.99999", epsilons[i]);
        takes("llama", words);
        snprintf(words, sizeof words, "%s=1.0", epsilons[i]);
        snprintf(sentence, sizeof sentence, "llama.%s is 1, but must be between 0 and 1", epsilons[i]);
        refuses("llama", words, PANTRY_FORMAT, sentence);
        snprintf(words, sizeof words, "%s=-0.001", epsilons[i]);
        refuses("llama", words, PANTRY_FORMAT, "but must be between 0 and 1");
    }
    refuses("llama", "logit_scale=2", PANTRY_FORMAT,
            "llama.logit_scale is an integer, but must be a floating-point number");
    refuses("llama", "rope.scaling.finetuned=1", PANTRY_FORMAT,
            "llama.rope.scaling.finetuned is an integer, but must be a bool");
    refuses("llama", "block_count=2.0", PANTRY_FORMAT,
            "llama.block_count is a floating-point number, but must be an integer");
    assert_true(takes("granite", "residual_scale=0.0").hp.residual_scale == 0); /* files write 0 for "none" */
    assert_true(takes("minicpm", "residual_scale=0.0").hp.residual_scale == 1.4f / sqrtf(2));
    assert_true(takes("minicpm", "logit_scale=0.0").hp.logit_scale == 32.0f / 256);
    assert_true(takes("mistral3", "").hp.temperature_length == 64); /* the context */
    assert_true(takes("mistral3", "attention.temperature_length=9").hp.temperature_length == 9);
    refuses("mistral3", "attention.temperature_length=-1", PANTRY_FORMAT,
            "mistral3.attention.temperature_length is -1");
}

static void the_file_chooses_what_a_row_leaves_open(void **state)
{
    (void)state;
    assert_int_equal(takes("cohere2moe", "").hp.norm, PN_NORM_RMS);
    assert_int_equal(takes("cohere2moe", "attention.layer_norm_rms_epsilon=").hp.norm, PN_NORM_LAYER);
    assert_int_equal(takes("cohere2moe", "attention.layer_norm_rms_epsilon=0.0").hp.norm, PN_NORM_LAYER);
    assert_int_equal(takes("gpt2", "").hp.norm, PN_NORM_LAYER);
    assert_true(takes("llama", "").hp.causal && !takes("llama", "attention.causal=no").hp.causal);
    assert_false(takes("bert", "").hp.causal);
    assert_false(takes("bert", "attention.causal=yes").hp.causal);
    static const struct {
        const char *name;
        enum pn_act_fn act;
    } acts[] = {{"gelu", PN_ACT_FN_GELU},
                {"gelu_pytorch_tanh", PN_ACT_FN_GELU_TANH},
                {"silu", PN_ACT_FN_SILU},
                {"relu", PN_ACT_FN_RELU}};
    char words[96];
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        snprintf(words, sizeof words, "hidden_activation=%s", acts[i].name);
        assert_int_equal(takes("bert", words).hp.act, acts[i].act);
        assert_int_equal(takes("llama", words).hp.act, PN_ACT_FN_SILU);
    }
    refuses("bert", "hidden_activation=gelus", PANTRY_UNSUPPORTED,
            "bert.hidden_activation is \"gelus\"; supported are silu, gelu,");
    refuses("bert", "hidden_activation=gel", PANTRY_UNSUPPORTED, "bert.hidden_activation is \"gel\"");
    refuses("bert", "hidden_activation=1", PANTRY_FORMAT, "bert.hidden_activation is an integer, but must be a string");
    assert_int_equal(takes("bert", "").hp.act, PN_ACT_FN_GELU);
    refuses("t5", "attention.relative_buckets_count=30", PANTRY_FORMAT,
            "t5.attention.relative_buckets_count is 30, but must be a multiple of 4");
}

static void pooling_is_one_of_five(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *words;
        enum pn_pooling pooling;
    } cases[] = {{"llama", "pooling_type=0", PN_POOLING_LAST},
                 {"llama", "", PN_POOLING_LAST},
                 {"bert", "", PN_POOLING_MEAN},
                 {"llama", "attention.causal=no", PN_POOLING_MEAN},
                 {"llama", "pooling_type=1", PN_POOLING_MEAN},
                 {"llama", "pooling_type=2", PN_POOLING_CLS},
                 {"bert", "pooling_type=3", PN_POOLING_LAST},
                 {"bert", "pooling_type=-1", PN_POOLING_MEAN},
                 {"bert", "pooling_type=4294967295", PN_POOLING_MEAN},
                 {"bert", "pooling_type=4", PN_POOLING_CLS},
                 {"llama", "pooling_type=4", PN_POOLING_LAST},
                 {"modern-bert", "pooling_type=4", PN_POOLING_MEAN},
                 {"bert", "pooling_type=4 classifier.pooling_type=3", PN_POOLING_LAST},
                 {"bert", "pooling_type=4 classifier.pooling_type=4", PN_POOLING_MEAN}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (takes(cases[i].arch, cases[i].words).hp.pooling != cases[i].pooling)
            fail_msg("%s with %s does not pool by %d", cases[i].arch, cases[i].words, cases[i].pooling);
    refuses("bert", "pooling_type=5", PANTRY_FORMAT, "bert.pooling_type is 5, but must be between 0 and 4");
    refuses("bert", "pooling_type=-2", PANTRY_FORMAT, "bert.pooling_type is -2, but must be between 0 and 4");
    refuses("bert", "pooling_type=mean", PANTRY_FORMAT, "bert.pooling_type is a string, but must be an integer");
}

/* ---- rotation settings ---- */

static pantry_status extend(const char *arch, const char *words, struct pn_rope_override user, struct result *out)
{
    struct pantry_error err = {0};
    *out = takes(arch, words);
    struct pn_arch row;
    assert_true(pn_arch_find(arch, strlen(arch), &row));
    pantry_status status = pn_hparams_extend(&out->hp, &row, &user, &err);
    snprintf(out->text, sizeof out->text, "%s", status ? err.text : "");
    return status;
}

static void rope_overrides_are_bounded(void **state)
{
    (void)state;
    struct result r;
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.factor = 4096}, &r), PANTRY_OK);
    assert_true(r.hp.n_context_train == 64 * 4096 && r.hp.rope.factor == 4096);
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.factor = nextafterf(4096, 5000)}, &r),
                     PANTRY_INVALID);
    assert_non_null(strstr(r.text, "the context factor is 4096, but must be above 0 and at most 4096"));
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.factor = 1e-6f}, &r), PANTRY_OK);
    assert_int_equal(r.hp.n_context_train, 1);
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.factor = -1e-6f}, &r), PANTRY_INVALID);
    assert_int_equal(extend("llama", "context_length=2000000000", (struct pn_rope_override){.factor = 2}, &r),
                     PANTRY_OK);
    assert_int_equal(r.hp.n_context_train, INT32_MAX);
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.freq_base = 1}, &r), PANTRY_INVALID);
    assert_non_null(strstr(r.text, "the rotary base is 1, but must be above 1"));
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.freq_base = INFINITY}, &r), PANTRY_INVALID);
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.freq_base = 1.001f}, &r), PANTRY_OK);
    assert_true(r.hp.rope.freq_base == 1.001f && r.hp.n_context_train == 64);
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.scaling = "longrope"}, &r), PANTRY_INVALID);
    assert_non_null(strstr(r.text, "rope scaling \"longrope\" is not supported; use none, linear, ntk"));
    assert_int_equal(extend("llama", "rope.scaling.type=longrope", (struct pn_rope_override){.factor = 2}, &r),
                     PANTRY_OK);
    assert_int_equal(r.hp.rope.scaling, PN_ROPE_SCALING_LONGROPE);
    assert_int_equal(extend("llama", "rope.scaling.type=none", (struct pn_rope_override){.factor = 2}, &r), PANTRY_OK);
    assert_int_equal(r.hp.rope.scaling, PN_ROPE_SCALING_LINEAR);
    assert_int_equal(extend("llama", "", (struct pn_rope_override){.scaling = "yarn"}, &r), PANTRY_OK);
    assert_true(r.hp.rope.scaling == PN_ROPE_SCALING_YARN && r.hp.rope.factor == 1 && r.hp.n_context_train == 64);
    assert_int_equal(extend("gpt2", "", (struct pn_rope_override){.factor = 2}, &r), PANTRY_INVALID);
    assert_non_null(strstr(r.text, "this model does not rotate"));
    assert_int_equal(extend("llama", NO_ROTATION, (struct pn_rope_override){.freq_base = 20}, &r), PANTRY_INVALID);
    assert_int_equal(extend("gpt2", "", (struct pn_rope_override){0}, &r), PANTRY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_accepted_up_to_their_bounds),
        cmocka_unit_test(layers_are_counted_after_loops),
        cmocka_unit_test(layers_that_predict_further_are_left_out),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(heads_share_keys_evenly),
        cmocka_unit_test(experts_used_are_experts),
        cmocka_unit_test(rotated_values_are_even_and_fit),
        cmocka_unit_test(ways_to_stretch_are_known),
        cmocka_unit_test(sections_stay_in_heads),
        cmocka_unit_test(windows_are_the_files_or_the_rows),
        cmocka_unit_test(recurrent_layers_are_listed_or_counted),
        cmocka_unit_test(keys_are_shared_with_a_layer_of_the_kind),
        cmocka_unit_test(lists_have_an_item_per_layer),
        cmocka_unit_test(numbers_are_accepted_up_to_their_bounds),
        cmocka_unit_test(the_file_chooses_what_a_row_leaves_open),
        cmocka_unit_test(pooling_is_one_of_five),
        cmocka_unit_test(rope_overrides_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
