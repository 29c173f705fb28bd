/* Recurrent layers: how a prompt is cut does not matter, rewinding and reuse equal a fresh session, and sessions do not
 * disturb one another. The models are tiny hybrids of all recurrent blocks with attention. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "engine/session.h"
#include "engine/state.h"
#include "gguf_writer.h"

enum { VOCAB = 48, EMBD = 32, FF = 40, HEADS = 2, DIM = 16, INNER = 64, STATE = 8, N_IDS = 90 };

static const char *const archs[] = {"mamba", "mamba2", "granitehybrid", "lfm2", "qwen35"};
enum { N_ARCHS = sizeof archs / sizeof *archs };

static struct pn_rng rng;
static int32_t ids[N_IDS];

/* ---- models ---- */

static void u32(struct gw *g, const char *arch, const char *key, uint32_t value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    gw_u32(g, full, value);
}

static void random_tensor(struct gw *g, int layer, const char *name, int64_t rows, int64_t cols)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    gw_random(g, full, GW_F32, rows ? 2 : 1, rows ? (const int64_t[]){rows, cols} : (const int64_t[]){cols}, 0.4f,
              &rng);
}

static void constant(struct gw *g, int layer, const char *name, int64_t rows, int64_t cols, float value)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    gw_constant(g, full, GW_F32, rows ? 2 : 1, rows ? (const int64_t[]){rows, cols} : (const int64_t[]){cols}, value);
}

static void attention(struct gw *g, int layer, bool gate, bool norms)
{
    random_tensor(g, layer, "attn_q.weight", (gate ? 2 : 1) * HEADS * DIM, EMBD);
    random_tensor(g, layer, "attn_k.weight", HEADS * DIM, EMBD);
    random_tensor(g, layer, "attn_v.weight", HEADS * DIM, EMBD);
    random_tensor(g, layer, "attn_output.weight", EMBD, HEADS * DIM);
    if (norms) {
        constant(g, layer, "attn_q_norm.weight", 0, DIM, 1);
        constant(g, layer, "attn_k_norm.weight", 0, DIM, 1);
    }
}

static void mamba(struct gw *g, int layer)
{
    random_tensor(g, layer, "ssm_in.weight", 2 * INNER, EMBD);
    random_tensor(g, layer, "ssm_conv1d.weight", INNER, 4);
    random_tensor(g, layer, "ssm_conv1d.bias", 0, INNER);
    random_tensor(g, layer, "ssm_x.weight", 4 + 2 * STATE, INNER);
    random_tensor(g, layer, "ssm_dt.weight", INNER, 4);
    random_tensor(g, layer, "ssm_dt.bias", 0, INNER);
    constant(g, layer, "ssm_a", INNER, STATE, -0.3f);
    constant(g, layer, "ssm_d", 0, INNER, 1);
    random_tensor(g, layer, "ssm_out.weight", EMBD, INNER);
}

static void mamba2(struct gw *g, int layer)
{
    int mixed = INNER + 2 * 2 * STATE;
    random_tensor(g, layer, "ssm_in.weight", INNER + mixed + 4, EMBD);
    random_tensor(g, layer, "ssm_conv1d.weight", mixed, 4);
    random_tensor(g, layer, "ssm_conv1d.bias", 0, mixed);
    random_tensor(g, layer, "ssm_dt.bias", 0, 4);
    constant(g, layer, "ssm_a", 4, 1, -0.3f);
    constant(g, layer, "ssm_d", 4, 1, 1);
    constant(g, layer, "ssm_norm.weight", 2, INNER / 2, 1);
    random_tensor(g, layer, "ssm_out.weight", EMBD, INNER);
}

static void shortconv(struct gw *g, int layer)
{
    random_tensor(g, layer, "shortconv.in_proj.weight", 3 * EMBD, EMBD);
    random_tensor(g, layer, "shortconv.conv.weight", EMBD, 3);
    random_tensor(g, layer, "shortconv.out_proj.weight", EMBD, EMBD);
}

static void delta(struct gw *g, int layer)
{
    int keys = 2 * STATE, heads = INNER / DIM;
    random_tensor(g, layer, "attn_qkv.weight", 2 * keys + INNER, EMBD);
    random_tensor(g, layer, "attn_gate.weight", INNER, EMBD);
    random_tensor(g, layer, "ssm_conv1d.weight", 2 * keys + INNER, 4);
    random_tensor(g, layer, "ssm_beta.weight", heads, EMBD);
    random_tensor(g, layer, "ssm_alpha.weight", heads, EMBD);
    random_tensor(g, layer, "ssm_dt.bias", 0, heads);
    constant(g, layer, "ssm_a", 0, heads, -0.3f);
    constant(g, layer, "ssm_norm.weight", 0, DIM, 1);
    random_tensor(g, layer, "ssm_out.weight", EMBD, INNER);
}

/* Layer 0 is recurrent, and so is layer 1 where a model has nothing else; otherwise it attends. */
static void layer_of(struct gw *g, const char *arch, int layer)
{
    bool is_delta = strcmp(arch, "qwen35") == 0;
    constant(g, layer, "attn_norm.weight", 0, EMBD, 1);
    if (strcmp(arch, "mamba") == 0)
        mamba(g, layer);
    else if (strcmp(arch, "mamba2") == 0)
        mamba2(g, layer);
    else if (layer == 1)
        attention(g, layer, is_delta, is_delta || strcmp(arch, "lfm2") == 0);
    else if (is_delta)
        delta(g, layer);
    else if (strcmp(arch, "lfm2") == 0)
        shortconv(g, layer);
    else
        mamba2(g, layer);
    if (strncmp(arch, "mamba", 5) == 0)
        return;
    constant(g, layer, is_delta ? "post_attention_norm.weight" : "ffn_norm.weight", 0, EMBD, 1);
    random_tensor(g, layer, "ffn_gate.weight", FF, EMBD);
    random_tensor(g, layer, "ffn_up.weight", FF, EMBD);
    random_tensor(g, layer, "ffn_down.weight", EMBD, FF);
}

static const char *hybrid(const char *arch)
{
    struct gw g;
    char key[96], file[64];
    static const uint32_t kv[] = {0, HEADS};
    bool lfm2 = strcmp(arch, "lfm2") == 0;
    rng.state = 42;
    gw_init(&g);
    gw_str(&g, "general.architecture", arch);
    u32(&g, arch, "context_length", 4096);
    u32(&g, arch, "embedding_length", EMBD);
    u32(&g, arch, "block_count", 2);
    u32(&g, arch, "feed_forward_length", strncmp(arch, "mamba", 5) == 0 ? 0 : FF);
    u32(&g, arch, "attention.head_count", strncmp(arch, "mamba", 5) == 0 ? 0 : HEADS);
    snprintf(key, sizeof key, "%s.attention.head_count_kv", arch);
    if (strcmp(arch, "qwen35") == 0)
        gw_u32(&g, key, HEADS);
    else
        gw_array(&g, key, GW_UINT32, 2, kv, sizeof *kv);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    gw_f32(&g, key, 1e-5f);
    u32(&g, arch, "full_attention_interval", 2);
    u32(&g, arch, "ssm.conv_kernel", lfm2 ? 0 : 4);
    u32(&g, arch, "shortconv.l_cache", lfm2 ? 3 : 0);
    u32(&g, arch, "ssm.inner_size", INNER);
    u32(&g, arch, "ssm.state_size", STATE);
    u32(&g, arch, "ssm.time_step_rank", 4);
    u32(&g, arch, "ssm.group_count", 2);
    gw_random(&g, "token_embd.weight", GW_F32, 2, (const int64_t[]){VOCAB, EMBD}, 1, &rng);
    gw_random(&g, "output.weight", GW_F32, 2, (const int64_t[]){VOCAB, EMBD}, 0.4f, &rng);
    gw_constant(&g, lfm2 ? "token_embd_norm.weight" : "output_norm.weight", GW_F32, 1, (const int64_t[]){EMBD}, 1);
    for (int i = 0; i < 2; i++)
        layer_of(&g, arch, i);
    snprintf(file, sizeof file, "%s.gguf", arch);
    const char *path = gw_file(&g, file);
    gw_free(&g);
    return path;
}

static struct pn_runner *open_runner(const char *arch, const char *device, int n_threads)
{
    struct pn_error err = {0};
    struct pn_weights *weights;
    struct pn_model *model;
    struct pn_device *d;
    struct pn_runner *runner;
    if (pn_weights_open(hybrid(arch), &weights, &err) ||
        pn_model_new(weights, &(struct pn_rope_wish){0}, &model, &err) ||
        pn_device_open(device, &(struct pn_device_options){.n_threads = n_threads}, &d, &err) ||
        pn_runner_new(model, d, &runner, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % VOCAB);
    return runner;
}

static void open_session(struct pn_session *s, struct pn_runner *runner)
{
    struct pn_error err = {0};
    if (pn_session_init(s, runner, &(struct pantry_session_options){.kv_type = "f32"}, &err))
        fail_msg("%s", err.text);
}

/* Feeds tokens n_past .. end - 1, `slice` at a time; out is where position 0's logits would go. */
static void feed(struct pn_session *s, int end, int slice, float (*out)[VOCAB])
{
    struct pn_error err = {0};
    while (s->n_past < end) {
        int at = s->n_past, n = end - at < slice ? end - at : slice;
        if (pn_session_feed(s, ids + at, n, n, out[at], &err))
            fail_msg("%s", err.text);
    }
}

static void check(const char *arch, const char *what, float (*got)[VOCAB], float (*wanted)[VOCAB], int first, int end)
{
    double e = nmse(got[first], wanted[first], (size_t)(end - first) * VOCAB);
    if (!(e < 1e-9))
        fail_msg("%s, %s: NMSE %g", arch, what, e);
}

/* ---- tests ---- */

static float whole[N_IDS][VOCAB], got[N_IDS][VOCAB], other[N_IDS][VOCAB];

static void slices_do_not_matter(void **state)
{
    (void)state;
    static const int slices[] = {1, 3, 32};
    for (int i = 0; i < N_ARCHS; i++) {
        struct pn_runner *ref = open_runner(archs[i], "ref", 1), *cpu = open_runner(archs[i], "cpu", 2);
        struct pn_session s;
        open_session(&s, ref);
        feed(&s, N_IDS, N_IDS, whole);
        pn_session_release(&s);
        for (int d = 0; d < 2; d++)
            for (size_t k = 0; k < sizeof slices / sizeof *slices; k++) {
                open_session(&s, d ? cpu : ref);
                feed(&s, N_IDS, slices[k], got);
                check(archs[i], d ? "slices on cpu" : "slices on ref", got, whole, 0, N_IDS);
                pn_session_release(&s);
            }
        pn_runner_free(ref);
        pn_runner_free(cpu);
    }
}

static void rewinding_equals_a_fresh_session(void **state)
{
    (void)state;
    for (int i = 0; i < N_ARCHS; i++) {
        struct pn_runner *runner = open_runner(archs[i], "cpu", 2);
        struct pn_session s;
        open_session(&s, runner);
        feed(&s, N_IDS, N_IDS, whole);
        pn_session_release(&s);
        open_session(&s, runner);
        feed(&s, 60, 20, got); /* leaves copies after 20, 40 and 60 tokens */
        feed(&s, 70, 1, got);
        static const struct {
            int wanted, kept;
        } steps[] = {{69, 60}, {60, 60}, {59, 40}, {25, 20}, {19, 0}, {0, 0}};
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            memset(got, 0, sizeof got);
            pn_session_rewind(&s, steps[k].wanted);
            assert_int_equal(s.n_past, steps[k].kept);
            feed(&s, 80, 1, got);
            check(archs[i], "after rewinding", got, whole, steps[k].kept, 80);
        }
        pn_session_release(&s);
        pn_runner_free(runner);
    }
}

/* A prompt that shares a prefix with what a session holds. */
static void another_end_equals_a_fresh_session(void **state)
{
    (void)state;
    for (int i = 0; i < N_ARCHS; i++) {
        struct pn_runner *runner = open_runner(archs[i], "cpu", 2);
        struct pn_session s;
        open_session(&s, runner);
        feed(&s, 50, 25, got);
        feed(&s, 60, 1, got);
        for (int k = 30; k < N_IDS; k++)
            ids[k] = (ids[k] + 5) % VOCAB;
        pn_session_rewind(&s, pn_session_common(&s, ids, N_IDS));
        assert_int_equal(s.n_past, 25);
        feed(&s, N_IDS, 16, got);
        pn_session_release(&s);
        open_session(&s, runner);
        feed(&s, N_IDS, N_IDS, whole);
        check(archs[i], "another end", got, whole, 25, N_IDS);
        pn_session_release(&s);
        pn_runner_free(runner);
    }
}

static void sessions_do_not_disturb_one_another(void **state)
{
    (void)state;
    for (int i = 0; i < N_ARCHS; i++) {
        struct pn_runner *runner = open_runner(archs[i], "cpu", 2);
        struct pn_session a, b;
        open_session(&a, runner);
        feed(&a, N_IDS, N_IDS, whole);
        pn_session_release(&a);
        open_session(&a, runner);
        open_session(&b, runner);
        for (int at = 10; at <= N_IDS; at += 10) {
            feed(&a, at, 4, got);
            feed(&b, at - 5, 3, other);
        }
        check(archs[i], "first of two", got, whole, 0, N_IDS);
        check(archs[i], "second of two", other, whole, 0, N_IDS - 5);
        pn_session_release(&a);
        pn_session_release(&b);
        pn_runner_free(runner);
    }
}

static void copies_are_bounded_and_thinned(void **state)
{
    (void)state;
    struct pn_runner *runner = open_runner("lfm2", "cpu", 2);
    struct pn_session s;
    open_session(&s, runner);
    feed(&s, N_IDS, 2, got);
    assert_int_equal(s.states.n, PN_MAX_CHECKPOINTS);
    for (int i = 1; i < s.states.n; i++)
        assert_true(s.states.checkpoints[i].at > s.states.checkpoints[i - 1].at);
    assert_int_equal(s.states.checkpoints[s.states.n - 1].at, N_IDS);
    int used = runner->states->n_used;
    pn_session_release(&s);
    assert_int_equal(runner->states->n_free, used); /* every slot came back */
    for (int i = 0; i < 20; i++) {
        open_session(&s, runner);
        feed(&s, N_IDS, 30, got);
        pn_session_release(&s);
    }
    assert_int_equal(runner->states->n_used, used); /* and was used again */
    pn_runner_free(runner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_do_not_matter),
        cmocka_unit_test(rewinding_equals_a_fresh_session),
        cmocka_unit_test(another_end_equals_a_fresh_session),
        cmocka_unit_test(sessions_do_not_disturb_one_another),
        cmocka_unit_test(copies_are_bounded_and_thinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
