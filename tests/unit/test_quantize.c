/* pantry_quantize: types by the mixes' rules, the bytes of the encoders, importances, shards, resuming, mistakes. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/imatrix_file.h"
#include "format/weights.h"
#include "pantry.h"

#include "gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 16, WIDTH = 256, EXPERTS = 2 };

/* A llama with 16 layers of 256 x 256 matrices, a stack of experts in the last one, rows of 96 in the embedding. */
static const char *model_file(void)
{
    struct gw g;
    struct pn_rng rng = {7};
    char name[64];
    gw_init(&g);
    gw_str(&g, "general.architecture", "llama");
    gw_u32(&g, "llama.block_count", LAYERS);
    gw_u32(&g, "llama.attention.head_count", 8);
    gw_u32(&g, "llama.attention.head_count_kv", 4);
    gw_u32(&g, "general.file_type", 1);
    gw_random(&g, "token_embd.weight", GW_F16, 2, (const int64_t[]){64, 96}, 0.1f, &rng);
    gw_random(&g, "output.weight", GW_F16, 2, (const int64_t[]){4, WIDTH}, 0.1f, &rng);
    for (int i = 0; i < LAYERS; i++) {
        static const char *const parts[] = {"attn_v", "ffn_down", "attn_q"};
        snprintf(name, sizeof name, "blk.%d.attn_norm.weight", i);
        gw_constant(&g, name, GW_F32, 1, (const int64_t[]){WIDTH}, 1);
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", i, parts[k]);
            gw_random(&g, name, GW_F16, 2, (const int64_t[]){8, WIDTH}, 0.1f, &rng);
        }
    }
    gw_random(&g, "blk.15.ffn_up_exps.weight", GW_F32, 3, (const int64_t[]){EXPERTS, 4, WIDTH}, 0.1f, &rng);
    const char *path = gw_file(&g, "quantize-in.gguf");
    gw_free(&g);
    return path;
}

static struct pn_weights *opened(const char *path)
{
    struct pn_weights *w;
    struct pantry_error err;
    if (pn_weights_open(path, &w, &err) != PANTRY_OK)
        fail_msg("%s", err.text);
    return w;
}

static const char *type_of(const struct pn_weights *w, const char *name)
{
    const struct pn_tensor_info *t = pn_weights_tensor(w, name);
    assert_non_null(t);
    return pn_type_info(t->type)->name;
}

static void mixes_choose_types(void **state)
{
    (void)state;
    static const struct {
        const char *mix, *tensor, *type;
    } cases[] = {
        {"Q4_K_M", "blk.0.attn_v.weight", "q6_k"},    {"Q4_K_M", "blk.2.attn_v.weight", "q4_k"},
        {"Q4_K_M", "blk.4.ffn_down.weight", "q6_k"},  {"q4_k_m", "blk.3.ffn_down.weight", "q4_k"},
        {"Q4_K_M", "output.weight", "q6_k"},          {"Q4_K_M", "token_embd.weight", "q5_0"},
        {"Q4_K_M", "blk.0.attn_norm.weight", "f32"},  {"Q4_K_M", "blk.15.ffn_up_exps.weight", "q4_k"},
        {"Q3_K_M", "blk.0.ffn_down.weight", "q5_k"},  {"Q3_K_M", "blk.1.ffn_down.weight", "q4_k"},
        {"IQ2_XXS", "output.weight", "q5_k"},         {"IQ2_XXS", "token_embd.weight", "q4_0"},
        {"IQ1_S", "blk.3.attn_q.weight", "iq1_s"},    {"Q8_0", "output.weight", "q8_0"},
        {"BF16", "blk.3.attn_q.weight", "bf16"},      {"Q2_K", "blk.3.attn_v.weight", "q3_k"},
        {"Q4_K_S", "blk.3.attn_v.weight", "q5_k"},    {"Q4_K_S", "blk.4.attn_v.weight", "q4_k"},
        {"MXFP4_MOE", "blk.3.attn_v.weight", "q8_0"}, {"MXFP4_MOE", "blk.15.ffn_up_exps.weight", "mxfp4"},
        {"TQ1_0", "token_embd.weight", "q5_0"},       {"IQ3_XXS", "blk.5.attn_q.weight", "iq2_s"},
    };
    const char *in = model_file(), *out = gw_temp("quantize-out.gguf");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pantry_error err;
        if (pantry_quantize(in, out, cases[i].mix, NULL, NULL, &err) != PANTRY_OK)
            fail_msg("%s: %s", cases[i].mix, err.text);
        struct pn_weights *w = opened(out);
        if (strcmp(type_of(w, cases[i].tensor), cases[i].type) != 0)
            fail_msg("%s: %s is %s, not %s", cases[i].mix, cases[i].tensor, type_of(w, cases[i].tensor), cases[i].type);
        pn_weights_close(w);
    }
}

/* Every row is what the encoder makes of it, whatever the number of threads. */
static void rows_are_encoded(void **state)
{
    (void)state;
    const char *in = model_file(), *out = gw_temp("quantize-out.gguf");
    for (int threads = 1; threads <= 3; threads += 2) {
        struct pantry_quantize_options o = pantry_quantize_options_default();
        struct pantry_quantize_result r = {.size = sizeof r};
        o.n_threads = threads;
        assert_int_equal(pantry_quantize(in, out, "Q4_K_M", &o, &r, NULL), PANTRY_OK);
        assert_int_equal(r.n_tensors, 3 + 4 * LAYERS);
        assert_int_equal(r.n_quantized, 3 + 3 * LAYERS);
        assert_int_equal(r.n_fallbacks, 1);
        assert_int_equal(r.n_requantized, 0);
        struct pn_weights *a = opened(in), *b = opened(out);
        uint32_t type = 0;
        assert_int_equal(pn_meta_u32(b, "general.file_type", &type, NULL), PANTRY_OK);
        assert_int_equal(type, 15);
        for (size_t i = 0; i < a->n_tensors; i++) {
            const struct pn_tensor_info *from = &a->tensors[i], *to = pn_weights_tensor(b, from->name);
            size_t n = (size_t)from->shape[from->n_dims - 1];
            float values[WIDTH];
            unsigned char want[4 * WIDTH];
            for (size_t row = 0; row < from->bytes / pn_type_row_bytes(from->type, n); row++) {
                size_t bytes = pn_type_row_bytes(to->type, n);
                pn_type_decode_row(from->type, (const char *)from->data + row * pn_type_row_bytes(from->type, n),
                                   values, n);
                pn_type_encode(to->type, values, NULL, want, n);
                assert_memory_equal((const char *)to->data + row * bytes, want, bytes);
            }
        }
        pn_weights_close(a);
        pn_weights_close(b);
    }
}

static void requests(void **state)
{
    (void)state;
    const char *in = model_file(), *out = gw_temp("quantize-out.gguf");
    static const char *const types[] = {"attn_[qv]=Q8_0", "blk\\.1\\.=q5_1", "ffn=q3_k"};
    struct pantry_quantize_options o = pantry_quantize_options_default();
    o.tensor_types = types;
    o.n_tensor_types = 3;
    o.output_type = "F16";
    o.embedding_type = "q4_1";
    assert_int_equal(pantry_quantize(in, out, "Q4_K_M", &o, NULL, NULL), PANTRY_OK);
    struct pn_weights *w = opened(out);
    assert_string_equal(type_of(w, "blk.1.attn_v.weight"), "q8_0");
    assert_string_equal(type_of(w, "blk.1.ffn_down.weight"), "q5_1");
    assert_string_equal(type_of(w, "blk.2.ffn_down.weight"), "q3_k");
    assert_string_equal(type_of(w, "output.weight"), "f16");
    assert_string_equal(type_of(w, "token_embd.weight"), "q4_1");
    pn_weights_close(w);
    o = pantry_quantize_options_default();
    o.pure = true;
    assert_int_equal(pantry_quantize(in, out, "Q4_K_M", &o, NULL, NULL), PANTRY_OK);
    w = opened(out);
    assert_string_equal(type_of(w, "output.weight"), "q4_k");
    pn_weights_close(w);
}

/* The sum of w (x - y)^2 over the stack of experts. */
static double stack_error(const char *in, const char *out, const struct pn_imatrix_entry *e)
{
    struct pn_weights *a = opened(in), *b = opened(out);
    const struct pn_tensor_info *from = pn_weights_tensor(a, e->name), *to = pn_weights_tensor(b, e->name);
    double error = 0;
    for (size_t row = 0; row < EXPERTS * 4; row++) {
        float x[WIDTH], y[WIDTH];
        pn_type_decode_row(from->type, (const char *)from->data + row * sizeof x, x, WIDTH);
        pn_type_decode_row(to->type, (const char *)to->data + row * pn_type_row_bytes(to->type, WIDTH), y, WIDTH);
        for (size_t i = 0; i < WIDTH; i++)
            error += e->sum[row / 4 * WIDTH + i] * (double)((x[i] - y[i]) * (x[i] - y[i]));
    }
    pn_weights_close(a);
    pn_weights_close(b);
    return error;
}

static void importances_move_errors(void **state)
{
    (void)state;
    const char *in = model_file(), *out = gw_temp("quantize-out.gguf");
    struct pn_imatrix m = {.chunks = 3, .chunk_size = 512};
    struct pn_imatrix_entry *e = pn_imatrix_entry(&m, "blk.15.ffn_up_exps.weight", WIDTH, EXPERTS);
    assert_non_null(e);
    for (size_t i = 0; i < EXPERTS * WIDTH; i++)
        e->sum[i] = (i / WIDTH ? i : i + 1) % 2 ? 100 : 0.1; /* the experts have opposite columns */
    e->count[0] = e->count[1] = 1;
    assert_int_equal(pn_imatrix_add_dataset(&m, "text.txt", NULL), PANTRY_OK);
    const char *const files[] = {gw_temp("importance.gguf"), gw_temp("importance.dat")};
    struct pantry_quantize_options o = pantry_quantize_options_default();
    struct pantry_quantize_result r = {.size = sizeof r};
    assert_int_equal(pantry_quantize(in, out, "Q3_K_S", &o, NULL, NULL), PANTRY_OK);
    double without = stack_error(in, out, e);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(pn_imatrix_write(&m, files[k], NULL), PANTRY_OK);
        o.imatrix = files[k];
        struct pantry_error err;
        if (pantry_quantize(in, out, "Q3_K_S", &o, &r, &err) != PANTRY_OK)
            fail_msg("%s", err.text);
        assert_true(stack_error(in, out, e) < 0.8 * without);
        assert_int_equal(r.n_unimportant, 2 + 3 * LAYERS);
        struct pn_weights *w = opened(out);
        assert_non_null(pn_weights_meta(w, "quantize.imatrix.chunks_count"));
        pn_weights_close(w);
    }
    pn_imatrix_free(&m);
}

static void files_of_importances_add_up(void **state)
{
    (void)state;
    struct pn_imatrix m = {.chunks = 2, .chunk_size = 512}, sum = {0};
    struct pn_imatrix_entry *e = pn_imatrix_entry(&m, "b.weight", 3, 1);
    e->sum[0] = 2;
    e->sum[2] = 8;
    e->count[0] = 4;
    pn_imatrix_add_dataset(&m, "one", NULL);
    const char *gguf = gw_temp("sum.gguf"), *legacy = gw_temp("sum.dat");
    assert_int_equal(pn_imatrix_write(&m, gguf, NULL), PANTRY_OK);
    assert_int_equal(pn_imatrix_write(&m, legacy, NULL), PANTRY_OK);
    assert_int_equal(pn_imatrix_add_file(&sum, gguf, NULL), PANTRY_OK);
    assert_int_equal(pn_imatrix_add_file(&sum, gguf, NULL), PANTRY_OK);
    const struct pn_imatrix_entry *s = pn_imatrix_find(&sum, "b.weight");
    assert_true(s->sum[0] == 4 && s->sum[1] == 0 && s->sum[2] == 16 && s->count[0] == 8);
    assert_int_equal(sum.chunks, 4);
    assert_int_equal(sum.datasets.len, 1);
    pn_imatrix_free(&sum);
    /* The older format keeps means, and chunks for counts. */
    assert_int_equal(pn_imatrix_add_file(&sum, legacy, NULL), PANTRY_OK);
    s = pn_imatrix_find(&sum, "b.weight");
    assert_true(s->sum[2] / s->count[0] == 2 && s->count[0] == 2);
    assert_null(pn_imatrix_entry(&sum, "b.weight", 4, 1));
    pn_imatrix_free(&sum);
    pn_imatrix_free(&m);
}

/* Every prefix of both formats, and every changed byte, is read or refused. */
static void damaged_importances(void **state)
{
    (void)state;
    struct pn_imatrix m = {.chunks = 2};
    pn_imatrix_entry(&m, "b.weight", 3, 2)->count[0] = 1;
    for (int k = 0; k < 2; k++) {
        const char *path = gw_temp(k ? "damaged.dat" : "damaged.gguf");
        static char bytes[4096], changed[4096];
        assert_int_equal(pn_imatrix_write(&m, path, NULL), PANTRY_OK);
        FILE *f = fopen(path, "rb");
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        int refused = 0;
        for (size_t i = 0; i < n; i++) {
            struct pn_imatrix read = {0};
            refused += pn_imatrix_add_file(&read, gw_put("damaged-cut", bytes, i), NULL) != PANTRY_OK;
            pn_imatrix_free(&read);
            memcpy(changed, bytes, n);
            changed[i] ^= (char)0xFF;
            refused += pn_imatrix_add_file(&read, gw_put("damaged-cut", changed, n), NULL) != PANTRY_OK;
            pn_imatrix_free(&read);
        }
        assert_true(refused > (int)n / 2);
    }
    pn_imatrix_free(&m);
}

static void targets_are_met(void **state)
{
    (void)state;
    const char *in = model_file(), *out = gw_temp("quantize-out.gguf");
    double before = 0;
    for (int bits = 3; bits <= 8; bits++) {
        struct pantry_quantize_options o = pantry_quantize_options_default();
        struct pantry_quantize_result r = {.size = sizeof r};
        o.target_bpw = (float)bits + 1.0f; /* the norms are float32 */
        assert_int_equal(pantry_quantize(in, out, "Q4_K_M", &o, &r, NULL), PANTRY_OK);
        double bpw = (double)r.bytes_out * 8 / (double)r.n_params;
        assert_true(bpw <= (double)o.target_bpw && bpw > (double)o.target_bpw - 0.8 && bpw >= before);
        before = bpw;
    }
    struct pantry_quantize_options o = pantry_quantize_options_default();
    o.target_bpw = 1.5f;
    assert_int_equal(pantry_quantize(in, out, "Q4_K_M", &o, NULL, NULL), PANTRY_INVALID);
}

/* The callback cancels; the next run goes on and makes the same file. */
struct stop {
    pantry_cancel *cancel;
    size_t at, reports;
};

static void count_reports(void *user, const struct pantry_quantize_progress *p)
{
    struct stop *stop = user;
    stop->reports++;
    assert_true(p->number <= p->n_tensors && p->bytes_done <= p->bytes_total);
    if (p->number == stop->at)
        pantry_cancel_set(stop->cancel);
}

static void interrupted_runs_go_on(void **state)
{
    (void)state;
    const char *in = model_file(), *out = gw_temp("quantize-out.gguf"), *whole = gw_temp("quantize-whole.gguf");
    struct stop stop = {pantry_cancel_new(), 20, 0};
    struct pantry_quantize_options o = pantry_quantize_options_default();
    struct pantry_quantize_result r = {.size = sizeof r};
    unlink(out);
    assert_int_equal(pantry_quantize(in, whole, "Q4_K_M", &o, NULL, NULL), PANTRY_OK);
    o.callback = count_reports;
    o.user = &stop;
    o.cancel = stop.cancel;
    assert_int_equal(pantry_quantize(in, out, "Q4_K_M", &o, &r, NULL), PANTRY_CANCELLED);
    assert_int_equal(access(out, F_OK), -1);
    pantry_cancel_clear(stop.cancel);
    stop.at = 0;
    stop.reports = 0;
    assert_int_equal(pantry_quantize(in, out, "Q4_K_M", &o, &r, NULL), PANTRY_OK);
    assert_true(r.n_resumed >= 20 && r.n_resumed < r.n_tensors);
    assert_int_equal(stop.reports, r.n_tensors);
    struct pn_weights *a = opened(whole), *b = opened(out);
    assert_int_equal(a->maps[0].size, b->maps[0].size);
    assert_memory_equal(a->maps[0].data, b->maps[0].data, a->maps[0].size);
    pn_weights_close(a);
    pn_weights_close(b);
    pantry_cancel_free(stop.cancel);
}

static void shards_are_kept(void **state)
{
    (void)state;
    const char *in = model_file(), *out = gw_temp("split-out.gguf");
    struct pantry_quantize_options o = pantry_quantize_options_default();
    o.split_size = 40000;
    assert_int_equal(pantry_quantize(in, out, "F16", &o, NULL, NULL), PANTRY_OK);
    char first[512];
    size_t n = 0;
    for (int count = 2; count < 20 && !n; count++) {
        snprintf(first, sizeof first, "split-out-00001-of-%05d.gguf", count);
        n = access(gw_temp(first), F_OK) == 0 ? (size_t)count : 0;
    }
    assert_true(n > 2);
    for (size_t i = 1; i <= n; i++) {
        char name[512];
        snprintf(name, sizeof name, "split-out-%05zu-of-%05zu.gguf", i, n);
        gw_temp(name);
        snprintf(name, sizeof name, "kept-%05zu-of-%05zu.gguf", i, n);
        gw_temp(name);
    }
    o = pantry_quantize_options_default();
    o.keep_split = true;
    char kept[512];
    snprintf(kept, sizeof kept, "kept-00001-of-%05zu.gguf", n);
    assert_int_equal(pantry_quantize(gw_temp(first), gw_temp("kept.gguf"), "Q8_0", &o, NULL, NULL), PANTRY_OK);
    struct pn_weights *w = opened(gw_temp(kept));
    assert_int_equal(w->n_maps, n);
    pn_weights_close(w);
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const bad[] = {"attn_v", "=q8_0", "attn_v=q9", "attn(=q8_0", "attn_v=i32"};
    const char *in = model_file(), *out = gw_temp("quantize-out.gguf");
    struct pantry_error err;
    struct pantry_quantize_options o = pantry_quantize_options_default();
    assert_int_equal(pantry_quantize(in, out, "Q4_K_X", NULL, NULL, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "Q4_K_M"));
    assert_int_equal(pantry_quantize("/nowhere.gguf", out, "Q8_0", NULL, NULL, &err), PANTRY_NOT_FOUND);
    assert_int_equal(pantry_quantize(in, "/nowhere/x.gguf", "Q8_0", NULL, NULL, &err), PANTRY_IO);
    for (size_t i = 0; i < 5; i++) {
        o.tensor_types = &bad[i];
        o.n_tensor_types = 1;
        if (pantry_quantize(in, out, "Q8_0", &o, NULL, &err) != PANTRY_INVALID)
            fail_msg("%s is taken", bad[i]);
    }
    o = pantry_quantize_options_default();
    o.imatrix = in;
    assert_int_equal(pantry_quantize(in, out, "Q8_0", &o, NULL, &err), PANTRY_FORMAT);
    o = pantry_quantize_options_default();
    o.target_bpw = 99;
    assert_int_equal(pantry_quantize(in, out, "Q8_0", &o, NULL, &err), PANTRY_INVALID);
    o = pantry_quantize_options_default();
    o.keep_split = true;
    o.split_size = 1;
    assert_int_equal(pantry_quantize(in, out, "Q8_0", &o, NULL, &err), PANTRY_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixes_choose_types),
        cmocka_unit_test(rows_are_encoded),
        cmocka_unit_test(requests),
        cmocka_unit_test(importances_move_errors),
        cmocka_unit_test(files_of_importances_add_up),
        cmocka_unit_test(damaged_importances),
        cmocka_unit_test(targets_are_met),
        cmocka_unit_test(interrupted_runs_go_on),
        cmocka_unit_test(shards_are_kept),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
