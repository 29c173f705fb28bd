/* A scripted model: see script_model.h. */
#include "script_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LOUD = 20 /* the logit of the scripted token; the others are 0 */, CONTROL = 3, NORMAL = 1 };

static void zeros(struct gw *g, const char *name, int n_dims, int64_t rows, int64_t cols)
{
    gw_constant(g, name, GW_F32, n_dims, n_dims == 2 ? (const int64_t[]){rows, cols} : &rows, 0);
}

static void norm(struct gw *g, const char *name)
{
    char full[64];
    int64_t n = SCRIPT_EMBD;
    snprintf(full, sizeof full, "%s.weight", name);
    gw_constant(g, full, GW_F32, 1, &n, 1);
    snprintf(full, sizeof full, "%s.bias", name);
    gw_constant(g, full, GW_F32, 1, &n, 0);
}

/* Position p is 1 at 2p and -1 at 2p + 1: its mean is 0, so the norm only multiplies it, by sqrt(SCRIPT_EMBD / 2). */
static void positions(struct gw *g, const float *table, int n_vocab)
{
    static float at[SCRIPT_CONTEXT * SCRIPT_EMBD], out[SCRIPT_MAX_VOCAB * SCRIPT_EMBD];
    memset(at, 0, sizeof at);
    memset(out, 0, sizeof out);
    for (int p = 0; p < SCRIPT_CONTEXT; p++) {
        at[p * SCRIPT_EMBD + 2 * p] = 1;
        at[p * SCRIPT_EMBD + 2 * p + 1] = -1;
        for (int j = 0; j < n_vocab; j++)
            out[j * SCRIPT_EMBD + 2 * p] = table[p * n_vocab + j] / sqrtf(SCRIPT_EMBD / 2);
    }
    gw_floats(g, "position_embd.weight", GW_F32, 2, (const int64_t[]){SCRIPT_CONTEXT, SCRIPT_EMBD}, at);
    gw_floats(g, "output.weight", GW_F32, 2, (const int64_t[]){n_vocab, SCRIPT_EMBD}, out);
}

void script_model_init(struct gw *g, const float *table, int n_vocab)
{
    gw_init(g);
    gw_str(g, "general.architecture", "gpt2");
    gw_u32(g, "gpt2.context_length", SCRIPT_CONTEXT);
    gw_u32(g, "gpt2.embedding_length", SCRIPT_EMBD);
    gw_u32(g, "gpt2.block_count", 1);
    gw_u32(g, "gpt2.feed_forward_length", 32);
    gw_u32(g, "gpt2.attention.head_count", SCRIPT_HEADS);
    gw_f32(g, "gpt2.attention.layer_norm_epsilon", 1e-9f);
    zeros(g, "token_embd.weight", 2, n_vocab, SCRIPT_EMBD);
    positions(g, table, n_vocab);
    norm(g, "blk.0.attn_norm");
    zeros(g, "blk.0.attn_qkv.weight", 2, 3 * SCRIPT_EMBD, SCRIPT_EMBD);
    zeros(g, "blk.0.attn_qkv.bias", 1, 3 * SCRIPT_EMBD, 0);
    zeros(g, "blk.0.attn_output.weight", 2, SCRIPT_EMBD, SCRIPT_EMBD);
    zeros(g, "blk.0.attn_output.bias", 1, SCRIPT_EMBD, 0);
    norm(g, "blk.0.ffn_norm");
    zeros(g, "blk.0.ffn_up.weight", 2, 32, SCRIPT_EMBD);
    zeros(g, "blk.0.ffn_up.bias", 1, 32, 0);
    zeros(g, "blk.0.ffn_down.weight", 2, SCRIPT_EMBD, 32);
    zeros(g, "blk.0.ffn_down.bias", 1, SCRIPT_EMBD, 0);
    norm(g, "output_norm");
}

/* GPT-2's alphabet: printable bytes map to themselves, the others to U+0100 and up, in order. */
static void spell(struct pn_buf *out, const char *piece)
{
    for (const char *p = piece; *p; p++) {
        unsigned char byte = (unsigned char)*p;
        unsigned next = 0x100, code = byte;
        for (unsigned b = 0; b <= byte; b++) {
            bool prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            code = prints ? b : next++;
        }
        pn_buf_put_utf8(out, code);
    }
}

static bool is_control(const char *piece)
{
    size_t n = strlen(piece);
    return n > 2 && piece[0] == '<' && piece[n - 1] == '>';
}

void script_tokenizer(struct gw *g, const char *const *pieces, int n_vocab, int eos)
{
    const char *tokens[SCRIPT_MAX_VOCAB];
    int32_t types[SCRIPT_MAX_VOCAB];
    struct pn_buf spelled[SCRIPT_MAX_VOCAB] = {0};
    for (int i = 0; i < n_vocab; i++) {
        types[i] = is_control(pieces[i]) ? CONTROL : NORMAL;
        if (is_control(pieces[i]))
            pn_buf_puts(&spelled[i], pieces[i]);
        else
            spell(&spelled[i], pieces[i]);
        tokens[i] = spelled[i].data ? spelled[i].data : "";
    }
    gw_str(g, "tokenizer.ggml.model", "gpt2");
    gw_str(g, "tokenizer.ggml.pre", "gpt-2");
    gw_strings(g, "tokenizer.ggml.tokens", (size_t)n_vocab, tokens);
    gw_array(g, "tokenizer.ggml.token_type", GW_INT32, (uint64_t)n_vocab, types, sizeof *types);
    gw_strings(g, "tokenizer.ggml.merges", 0, NULL);
    gw_i32(g, "tokenizer.ggml.eos_token_id", eos);
    for (int i = 0; i < n_vocab; i++)
        pn_buf_free(&spelled[i]);
}

const char *script_model(const char *file, const char *const *pieces, int n_pieces, int32_t *ids)
{
    static float table[SCRIPT_CONTEXT * SCRIPT_MAX_VOCAB];
    const char *vocab[SCRIPT_MAX_VOCAB] = {"?", "<eos>"};
    struct gw g;
    int n_vocab = 2;
    for (int i = 0; i < n_pieces; i++) {
        int k = 0;
        while (k < n_vocab && strcmp(vocab[k], pieces[i]) != 0)
            k++;
        if (k == n_vocab)
            vocab[n_vocab++] = pieces[i];
        ids[i] = k;
    }
    memset(table, 0, sizeof table);
    for (int p = 0; p < SCRIPT_CONTEXT; p++)
        table[p * n_vocab + (p < n_pieces ? ids[p] : 1)] = LOUD;
    script_model_init(&g, table, n_vocab);
    script_tokenizer(&g, vocab, n_vocab, 1);
    const char *path = gw_file(&g, file);
    gw_free(&g);
    return path;
}
