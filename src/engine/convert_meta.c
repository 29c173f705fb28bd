/* The metadata of a directory as GGUF files have it: see convert.h. Also checks that a file can say all of it: what a
 * directory changes in the architecture's row (model/archs.c) is lost in a file. */
#include "engine/convert.h"

#include "model/hparams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values with the widths that other readers expect ---- */

static void put_number(struct pn_gguf_meta *meta, const struct pn_meta *m)
{
    if (m->type == PN_META_FLOAT)
        pn_gguf_f32(meta, m->key, (float)m->f);
    else if (m->type == PN_META_BOOL)
        pn_gguf_bool(meta, m->key, m->b);
    else if (m->i >= 0 && m->i <= UINT32_MAX)
        pn_gguf_u32(meta, m->key, (uint32_t)m->i);
    else
        pn_gguf_i32(meta, m->key, (int32_t)m->i);
}

static pantry_status put_array(struct pn_gguf_meta *meta, const struct pn_meta *m, struct pantry_error *err)
{
    if (m->item != PN_META_INT) {
        pn_gguf_copy(meta, m);
        return PANTRY_OK;
    }
    int32_t *items = malloc((m->n + 1) * sizeof *items);
    if (!items)
        return pn_no_memory(err, m->key);
    for (size_t i = 0; i < m->n; i++)
        items[i] = (int32_t)pn_meta_item_i64(m, i);
    pn_gguf_array(meta, m->key, PN_GGUF_I32, m->n, items);
    free(items);
    return PANTRY_OK;
}

/* Readers take these keys as the sign of absorbed projections, which a directory with kv_b_proj does not have; the
 * lengths are those of the heads then. */
static bool is_left_out(const struct pn_convert *c, const char *key)
{
    size_t n = strlen(key);
    return n > 4 && strcmp(key + n - 4, "_mla") == 0 && !pn_weights_tensor(c->w, "blk.0.attn_k_b.weight");
}

/* The last part of a path. */
static void put_name(const struct pn_convert *c, struct pn_gguf_meta *meta)
{
    char name[256];
    size_t n = strlen(c->w->path), start;
    while (n && c->w->path[n - 1] == '/')
        n--;
    for (start = n; start && c->w->path[start - 1] != '/';)
        start--;
    snprintf(name, sizeof name, "%.*s", (int)(n - start), c->w->path + start);
    pn_gguf_str(meta, "general.name", name);
}

/* ---- what a file cannot say ---- */

static bool same_layers(const struct pn_hparams *a, const struct pn_hparams *b)
{
    for (int i = 0; i < a->n_layer; i++)
        if (memcmp(&a->layers[i], &b->layers[i], sizeof *a->layers) != 0)
            return false;
    return true;
}

/* The name of the first property in which the rows differ for this model; NULL: none. */
static const char *difference(const struct pn_arch *own, const struct pn_hparams *a, const struct pn_arch *row,
                              const struct pn_hparams *b)
{
    if (a->n_layer != b->n_layer || a->window != b->window || !same_layers(a, b))
        return "which layers have a window";
    if (own->ffn.act != row->ffn.act)
        return "the activation function";
    if (own->order != row->order || own->qk_norm != row->qk_norm)
        return "the order of norms and blocks";
    if (own->recurrent.interleaved != row->recurrent.interleaved)
        return "the order of value heads";
    if (own->nope.period != row->nope.period)
        return "which layers do not rotate";
    if (own->embedding.sqrt_width != row->embedding.sqrt_width)
        return "the scale of embeddings";
    if (memcmp(&own->temperature, &row->temperature, sizeof own->temperature) != 0)
        return "the temperature of attention";
    if (own->yarn.unrounded != row->yarn.unrounded)
        return "the bounds of YaRN";
    return NULL;
}

/* Some architectures have no windows in GGUF files: their texts agree up to the window's length. */
static void note_window(struct pn_convert *c, struct pn_hparams *a, struct pn_hparams *b)
{
    if (a->window <= 0 || b->window > 0)
        return;
    snprintf(c->result.note, sizeof c->result.note,
             "files of architecture %s have no window: texts longer than %d tokens give other results",
             c->w->arch->name, a->window);
    a->window = b->window;
    for (int i = 0; i < a->n_layer && i < b->n_layer; i++)
        a->layers[i].local = b->layers[i].local;
}

static pantry_status check(struct pn_convert *c, struct pantry_error *err)
{
    struct pn_arch row = {0};
    struct pn_arena arena = {0};
    struct pn_hparams a = {0}, b = {0};
    const struct pn_arch *own = c->w->arch;
    pantry_status status = pn_arch_find(own->name, strlen(own->name), &row)
                               ? pn_hparams_read(c->w, own, &arena, &a, err)
                               : pn_fail(err, PANTRY_INTERNAL, "no architecture %s", own->name);
    if (!status)
        status = pn_hparams_read(c->w, &row, &arena, &b, err);
    if (!status)
        note_window(c, &a, &b);
    const char *what = status ? NULL : difference(own, &a, &row, &b);
    if (what)
        status =
            pn_fail(err, PANTRY_UNSUPPORTED, "%s: a GGUF file of architecture %s cannot say %s as this model has it",
                    c->in, own->name, what);
    pn_arena_free(&arena);
    return status;
}

pantry_status pn_convert_meta(struct pn_convert *c, int file_type, struct pn_gguf_meta *meta, struct pantry_error *err)
{
    pantry_status status = check(c, err);
    for (size_t i = 0; !status && i < c->w->n_meta; i++) {
        const struct pn_meta *m = &c->w->meta[i];
        if (is_left_out(c, m->key))
            continue;
        if (m->type == PN_META_ARRAY)
            status = put_array(meta, m, err);
        else if (m->type == PN_META_STRING)
            pn_gguf_copy(meta, m);
        else
            put_number(meta, m);
        if (i == 0) {
            pn_gguf_str(meta, "general.type", "model");
            put_name(c, meta);
        }
    }
    pn_gguf_u32(meta, "general.file_type", (uint32_t)file_type);
    pn_gguf_u32(meta, "general.quantization_version", 2);
    return status;
}
