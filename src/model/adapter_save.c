/* Writing adapters as mlx_lm does: see adapter.h. */
#include "model/adapter.h"

#include "format/outfile.h"
#include "format/safetensors_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum part { PART_A, PART_B, PART_M, N_PARTS };

/* A format: what is before and after a module's name, and whether matrices are stored turned. */
struct form {
    const char *file, *before, *ends[N_PARTS], *by;
    bool turned;
};

static const struct form mlx = {"adapters.safetensors", "", {".lora_a", ".lora_b", ".m"}, "mlx", true};
static const struct form peft = {"adapter_model.safetensors",
                                 "base_model.model.",
                                 {".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"},
                                 "pt",
                                 false};

/* The rows of one part of a module, from all its targets, as (n_mat, rows, cols). */
struct whole {
    int64_t n_mat, rows, cols;
    float *values;
};

static const struct pn_weight *part_of(const struct pn_adapter_pair *p, enum part part)
{
    return part == PART_A ? p->a : part == PART_B ? p->b : p->trained_magnitude;
}

/* Puts a target's values where the module has them. */
static void put(const struct pn_weight *w, enum part part, const int32_t *order, struct whole *to)
{
    for (int64_t m = 0; m < w->n_mat; m++)
        for (int64_t r = 0; r < (part == PART_M ? w->n_cols : w->n_rows); r++) {
            int64_t at = part != PART_A && order ? order[r] : r;
            const float *from = part == PART_M ? pn_weight_floats(w, 0, 0) + r : pn_weight_floats(w, m, r);
            memcpy(to->values + (m * to->rows + at) * to->cols, from, (size_t)to->cols * sizeof *from);
        }
}

static pantry_status gather(const struct pn_adapter *a, const struct pn_adapter_module *module, enum part part,
                            struct whole *out, struct pantry_error *err)
{
    const struct pn_adapter_pair *first = pn_adapter_find(a, module->targets[0]);
    const struct pn_weight *w = part_of(first, part);
    *out = (struct whole){.n_mat = module->n_mat,
                          .rows = part == PART_A ? w->n_rows : module->n_out,
                          .cols = part == PART_M ? 1 : w->n_cols};
    out->values = calloc((size_t)(out->n_mat * out->rows * out->cols), sizeof *out->values);
    if (!out->values)
        return pn_no_memory(err, "an adapter");
    for (int i = 0; i < module->n_targets; i++)
        put(part_of(pn_adapter_find(a, module->targets[i]), part), part, module->order[i], out);
    return PANTRY_OK;
}

/* Matrices are stored as (in, rank) and (rank, out), stacks as they are here. */
static pantry_status write_part(struct pn_st_writer *writer, const struct form *form, const struct whole *w,
                                struct pantry_error *err)
{
    size_t n = (size_t)(w->n_mat * w->rows * w->cols);
    if (w->n_mat > 1 || w->cols == 1 || !form->turned)
        return pn_st_write(writer, w->values, n * sizeof(float), err);
    float *turned = malloc(n * sizeof *turned);
    if (!turned)
        return pn_no_memory(err, "an adapter");
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t c = 0; c < w->cols; c++)
            turned[c * w->rows + r] = w->values[r * w->cols + c];
    pantry_status status = pn_st_write(writer, turned, n * sizeof *turned, err);
    free(turned);
    return status;
}

static pantry_status add_part(struct pn_st_writer *writer, const struct form *form, const char *module, enum part part,
                              const struct whole *w, struct pantry_error *err)
{
    char name[1100];
    snprintf(name, sizeof name, "%s%s%s", form->before, module, form->ends[part]);
    if (part == PART_M)
        return pn_st_add(writer, name, PN_ST_F32, 1, (const int64_t[]){w->rows}, err);
    if (w->n_mat > 1)
        return pn_st_add(writer, name, PN_ST_F32, 3, (const int64_t[]){w->n_mat, w->rows, w->cols}, err);
    const int64_t shape[] = {w->rows, w->cols, w->rows};
    return pn_st_add(writer, name, PN_ST_F32, 2, form->turned ? shape + 1 : shape, err);
}

/* Lists all tensors, or writes them, in the same order. */
static pantry_status each_part(const struct pn_adapter *a, const struct form *form, struct pn_st_writer *writer,
                               bool write, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < a->modules.len; i++)
        for (enum part part = PART_A; part < N_PARTS && !status; part++) {
            struct whole w;
            const struct pn_adapter_module *module = &a->modules.data[i];
            if (!part_of(pn_adapter_find(a, module->targets[0]), part))
                continue;
            if ((status = gather(a, module, part, &w, err)))
                break;
            status = write ? write_part(writer, form, &w, err) : add_part(writer, form, module->name, part, &w, err);
            free(w.values);
        }
    return status;
}

static pantry_status save_tensors(const struct pn_adapter *a, const struct form *form, const char *folder,
                                  struct pantry_error *err)
{
    struct pn_st_writer *writer = NULL;
    struct pn_buf path = {0};
    pn_buf_printf(&path, "%s/%s", folder, form->file);
    pantry_status status = path.failed
                               ? pn_no_memory(err, "an adapter")
                               : pn_st_writer_new(path.data, &(struct pn_st_options){.format = form->by}, &writer, err);
    if (!status && !(status = each_part(a, form, writer, false, err)) && !(status = pn_st_begin(writer, err)) &&
        !(status = each_part(a, form, writer, true, err)))
        status = pn_st_finish(writer, err);
    pn_st_writer_free(writer);
    pn_buf_free(&path);
    return status;
}

pantry_status pn_adapter_save(const struct pn_adapter *a, const char *folder, const char *config,
                              struct pantry_error *err)
{
    pantry_status status = pn_outfile_text(folder, "adapter_config.json", config, err);
    return status ? status : save_tensors(a, &mlx, folder, err);
}

pantry_status pn_adapter_save_peft(const struct pn_adapter *a, const char *folder, struct pantry_error *err)
{
    return save_tensors(a, &peft, folder, err);
}
