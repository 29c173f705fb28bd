/* Fuzzes Hugging Face directories: the bytes are a config.json, then, after a byte 0, a safetensors file, whose
 * header's length is put before it. What reads without an error becomes a model, and the first numbers of every tensor
 * are decoded. The seed is made here: an input without both parts gets a small valid model's. */
#define _GNU_SOURCE
#include "format/hfdir.h"
#include "model/hf/hf.h"
#include "model/model.h"
#include "tensor/weight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static volatile float sink;

static void put(const char *name, const void *prefix, size_t n_prefix, const void *bytes, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(prefix, 1, n_prefix, f) != n_prefix || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
}

static void read_tensors(const struct pn_weights *w)
{
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct pn_tensor_info *t = &w->tensors[i];
        int64_t block = pn_type_info(t->type)->block, rows = t->n_dims > 1 ? t->shape[t->n_dims - 2] : 1;
        int64_t cols = t->shape[t->n_dims - 1], n_mat = 1;
        float values[256];
        if (block > 256 || cols % block)
            abort();
        for (int d = 0; d < t->n_dims - 2; d++)
            n_mat *= t->shape[d];
        const struct pn_weight all =
            t->places ? *t->places : pn_weight_plain(t->name, t->type, n_mat, rows, cols, t->data);
        pn_weight_decode(&all, 0, 0, 0, block, values);
        sink = values[0];
        pn_weight_decode(&all, n_mat - 1, rows - 1, cols - block, block, values);
        sink = values[0];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char config[] = "{\"model_type\":\"llama\",\"hidden_size\":32,\"num_attention_heads\":2,"
                                 "\"num_hidden_layers\":1,\"intermediate_size\":32,\"vocab_size\":4}";
    static const char header[] =
        "{\"model.embed_tokens.weight\":{\"dtype\":\"U32\",\"shape\":[4,4],\"data_offsets\":[0,64]},"
        "\"model.embed_tokens.scales\":{\"dtype\":\"F16\",\"shape\":[4,1],\"data_offsets\":[64,72]},"
        "\"model.embed_tokens.biases\":{\"dtype\":\"F16\",\"shape\":[4,1],\"data_offsets\":[72,80]}}";
    static uint8_t seed[sizeof config + sizeof header + 80];
    struct pn_weights *w = NULL;
    struct pn_model *model = NULL;
    if (!*folder) {
        strcpy(folder, "/tmp/pantry-fuzz-hf.XXXXXX");
        if (!mkdtemp(folder))
            abort();
        memcpy(seed, config, sizeof config);
        memcpy(seed + sizeof config, header, sizeof header);
    }
    const uint8_t *end = memchr(data, 0, size),
                  *stop = end ? memchr(end + 1, 0, size - (size_t)(end + 1 - data)) : NULL;
    if (!stop) {
        data = seed;
        size = sizeof seed;
        end = data + sizeof config - 1;
        stop = end + sizeof header;
    }
    uint64_t length = (uint64_t)(stop - end - 1);
    uint8_t prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (uint8_t)(length >> 8 * i);
    put("config.json", "", 0, data, (size_t)(end - data));
    put("model.safetensors", prefix, 8, end + 1, (size_t)length);
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *f = fopen(path, "ab");
    if (!f || fwrite(stop + 1, 1, size - (size_t)(stop + 1 - data), f) != size - (size_t)(stop + 1 - data) || fclose(f))
        abort();
    if (pn_model_open(folder, &w, NULL) == PANTRY_OK) {
        read_tensors(w);
        pn_model_new(w, &(struct pn_rope_override){0}, &model, NULL);
        pn_model_free(model);
    }
    return 0;
}
