/* Finds a missing optional tensor. Most biases are used if a file has them, so without this check a file that lost one
 * would give wrong results silently. Layers that are alike in everything else must also be alike in that. */
#include "model/complete.h"

#include <stdio.h>
#include <string.h>

/* The name of a layer's tensor after "blk.N.", and N; NULL for other tensors. Scales do not count: layers of one model
 * may be stored in different types, and only some types have scales. */
static const char *in_layer(const char *name, int n_layer, int *layer)
{
    int n = 0;
    if (sscanf(name, "blk.%d.%n", layer, &n) != 1 || n == 0 || *layer < 0 || *layer >= n_layer)
        return NULL;
    size_t len = strlen(name);
    bool is_scale = (len > 6 && strcmp(name + len - 6, ".scale") == 0) ||
                    (len > 12 && strcmp(name + len - 12, ".input_scale") == 0);
    return is_scale ? NULL : name + n;
}

static uint64_t hash(const char *s) /* FNV-1a */
{
    uint64_t h = 14695981039346656037u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

static bool same_kind(const struct pn_layer_hparams *a, const struct pn_layer_hparams *b)
{
    bool parts = !a->n_head == !b->n_head && !a->n_head_kv == !b->n_head_kv && !a->n_ff == !b->n_ff;
    return parts && a->recurrent == b->recurrent && a->local == b->local;
}

pantry_status pn_model_complete(const struct pn_weights *weights, const struct pn_arch *arch,
                                const struct pn_hparams *hp, struct pn_arena *arena, struct pantry_error *err)
{
    uint64_t *sets = pn_arena_array(arena, (size_t)hp->n_stored, sizeof *sets); /* hashes of all names of a layer */
    int layer;
    if (!sets)
        return pn_no_memory(err, "a model");
    memset(sets, 0, (size_t)hp->n_stored * sizeof *sets);
    for (size_t i = 0; i < weights->n_tensors; i++) {
        const char *name = in_layer(weights->tensors[i].name, hp->n_stored, &layer);
        if (name)
            sets[layer] ^= hash(name);
    }
    for (size_t i = 0; i < weights->n_tensors; i++) {
        const char *name = in_layer(weights->tensors[i].name, hp->n_stored, &layer);
        uint64_t without = name ? sets[layer] ^ hash(name) : 0;
        bool may_start = name && arch->norm.skip_first && strcmp(name, "attn_norm.weight") == 0;
        for (int j = may_start; name && j < hp->n_stored; j++)
            if (sets[j] == without && same_kind(&hp->layers[j], &hp->layers[layer]))
                return pn_fail(err, PANTRY_FORMAT, "%s: layer %d: tensor blk.%d.%s is missing, but layer %d has it",
                               weights->path, j, j, name, layer);
    }
    return PANTRY_OK;
}
