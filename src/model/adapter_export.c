/* Adapters in the formats of other programs: see adapter.h. */
#include "model/adapter.h"

#include "format/gguf_write.h"
#include "format/outfile.h"
#include "model/arch.h"
#include "model/hf/hf.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- llama.cpp's GGUF ---- */

/* The factor that all changes share in units of 1 / rank, as alpha has it; 0: they differ, so B takes it. */
static double alpha_of(const struct pn_adapter *a)
{
    const struct pn_adapter_pair *first = &a->pairs.data[0];
    for (size_t i = 0; i < a->pairs.len; i++)
        if (a->pairs.data[i].scale != first->scale || a->pairs.data[i].a->n_rows != first->a->n_rows)
            return 0;
    return (double)first->scale * (double)first->a->n_rows;
}

struct rows {
    int64_t n_rot, head; /* of queries and keys whose rows GGUF has in another order; 0: none */
    float factor;
};

static pantry_status write_rows(struct pn_gguf_writer *writer, const struct pn_weight *w, const struct rows *how,
                                struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    float *row = malloc((size_t)w->n_cols * sizeof *row);
    if (!row)
        return pn_no_memory(err, "an adapter");
    for (int64_t i = 0; i < w->n_mat * w->n_rows && !status; i++) {
        int64_t r = i % w->n_rows, in_head = how->head ? r % how->head : 0;
        if (how->head && in_head < how->n_rot) /* pairs of neighbours instead of halves */
            r = r - in_head + in_head % 2 * (how->n_rot / 2) + in_head / 2;
        const float *from = pn_weight_floats(w, i / w->n_rows, r);
        for (int64_t c = 0; c < w->n_cols; c++)
            row[c] = from[c] * how->factor;
        status = pn_gguf_write(writer, row, (size_t)w->n_cols * sizeof *row, err);
    }
    free(row);
    return status;
}

static pantry_status add_half(struct pn_gguf_writer *writer, const char *name, const char *end,
                              const struct pn_weight *w, struct pantry_error *err)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", name, end);
    const int64_t shape[] = {w->n_mat, w->n_rows, w->n_cols};
    return w->n_mat > 1 ? pn_gguf_add(writer, full, PN_TYPE_F32, 3, shape, err)
                        : pn_gguf_add(writer, full, PN_TYPE_F32, 2, shape + 1, err);
}

static bool turns(const struct pn_adapter_pair *p, int64_t head)
{
    return p->b->n_mat == 1 && head > 0 && p->b->n_rows % head == 0 &&
           (strstr(p->name, ".attn_q.weight") || strstr(p->name, ".attn_k.weight"));
}

static pantry_status write_gguf(const struct pn_adapter *a, const struct pn_weights *base, const char *arch,
                                struct pn_gguf_writer *writer, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    struct pn_gguf_meta meta = {0};
    double alpha = alpha_of(a);
    int64_t n_rot = 0, head = 0;
    if (base->hf && base->arch->rope.kind == PN_ROPE_HALVES)
        pn_hf_pairs_in_gguf(base->arch, base, &n_rot, &head);
    for (size_t i = 0; i < a->pairs.len && !status; i++) {
        const struct pn_adapter_pair *p = &a->pairs.data[i];
        if (!(status = add_half(writer, p->name, ".lora_a", p->a, err)))
            status = add_half(writer, p->name, ".lora_b", p->b, err);
    }
    pn_gguf_str(&meta, "general.architecture", arch);
    pn_gguf_str(&meta, "general.type", "adapter");
    pn_gguf_str(&meta, "adapter.type", "lora");
    pn_gguf_f32(&meta, "adapter.lora.alpha", (float)alpha);
    if (!status)
        status = pn_gguf_begin(writer, &meta, err);
    for (size_t i = 0; i < a->pairs.len && !status; i++) {
        const struct pn_adapter_pair *p = &a->pairs.data[i];
        const struct rows of_a = {.factor = 1};
        struct rows of_b = {.factor = alpha != 0 ? 1 : p->scale};
        if (turns(p, head))
            of_b = (struct rows){n_rot, head, of_b.factor};
        if (!(status = write_rows(writer, p->a, &of_a, err)))
            status = write_rows(writer, p->b, &of_b, err);
    }
    pn_gguf_meta_free(&meta);
    return status ? status : pn_gguf_finish(writer, err);
}

pantry_status pn_adapter_export_gguf(const struct pn_adapter *a, const struct pn_weights *base, const char *path,
                                     struct pantry_error *err)
{
    struct pn_gguf_writer *writer = NULL;
    struct pn_str arch = {"", 0};
    char name[80] = "";
    for (size_t i = 0; i < a->pairs.len; i++)
        if (a->pairs.data[i].magnitude)
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s: GGUF files have no DoRA: fuse the adapter instead", a->path);
    if (base->arch)
        snprintf(name, sizeof name, "%s", base->arch->name);
    else if (!pn_meta_str(base, "general.architecture", &arch, NULL) && arch.len < sizeof name)
        memcpy(name, arch.data, arch.len);
    pantry_status status = pn_gguf_writer_new(path, &(struct pn_gguf_options){0}, &writer, err);
    if (!status)
        status = write_gguf(a, base, name, writer, err);
    pn_gguf_writer_free(writer);
    return status;
}

/* ---- PEFT ---- */

static json_t *peft_config(const struct pn_adapter *a, const char *model)
{
    const struct pn_adapter_pair *p = &a->pairs.data[0];
    json_t *modules = json_array();
    for (size_t i = 0; modules && i < a->modules.len; i++)
        json_array_append_new(modules, json_string(a->modules.data[i].name));
    return json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:o, s:s, s:b, s:b, s:b}", "peft_type", "LORA", "task_type",
                     "CAUSAL_LM", "base_model_name_or_path", model, "r", (json_int_t)p->a->n_rows, "lora_alpha",
                     (double)p->scale * (double)p->a->n_rows, "lora_dropout", (double)a->dropout, "target_modules",
                     modules, "bias", "none", "fan_in_fan_out", 0, "use_dora", p->magnitude != NULL, "inference_mode",
                     1);
}

pantry_status pn_adapter_export_peft(const struct pn_adapter *a, const char *model, const char *folder,
                                     struct pantry_error *err)
{
    const struct pn_adapter_pair *first = &a->pairs.data[0];
    for (size_t i = 0; i < a->pairs.len; i++) {
        const struct pn_adapter_pair *p = &a->pairs.data[i];
        if (p->a->n_mat > 1)
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s: changes a stack of experts (%s), which PEFT cannot", a->path,
                           p->name);
        if (p->scale != first->scale || p->a->n_rows != first->a->n_rows || !p->magnitude != !first->magnitude)
            return pn_fail(err, PANTRY_UNSUPPORTED, "%s: its changes differ in rank, scale or kind", a->path);
    }
    json_t *config = peft_config(a, model);
    char *text = config ? json_dumps(config, JSON_INDENT(2)) : NULL;
    json_decref(config);
    pantry_status status =
        text ? pn_outfile_text(folder, "adapter_config.json", text, err) : pn_no_memory(err, "an adapter");
    free(text);
    return status ? status : pn_adapter_save_peft(a, folder, err);
}
