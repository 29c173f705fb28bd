/* The identity of a model's prefixes: see disk_identity.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "engine/disk_identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { N_SAMPLES = 64, SAMPLE = 4096 };

static void add_number(struct pn_sha256 *h, uint64_t n)
{
    pn_sha256_update(h, &n, sizeof n);
}

static void add_text(struct pn_sha256 *h, const char *text)
{
    add_number(h, text ? strlen(text) + 1 : 0);
    if (text)
        pn_sha256_update(h, text, strlen(text));
}

static void add_float(struct pn_sha256 *h, float value)
{
    pn_sha256_update(h, &value, sizeof value);
}

/* ---- the model ---- */

/* The digest in the name of a blob of the store, which was checked when it arrived; NULL: not a blob. */
static const char *blob_digest(const char *path)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    bool is_blob = strncmp(base, "sha256-", 7) == 0 && strlen(base) == 7 + PN_SHA256_HEX &&
                   strspn(base + 7, "0123456789abcdef") == PN_SHA256_HEX;
    return is_blob ? base + 7 : NULL;
}

/* The bytes before the first tensor: all metadata, names and shapes. */
static size_t header_bytes(const struct pn_weights *w, size_t map)
{
    size_t least = w->maps[map].size;
    for (size_t i = 0; i < w->n_tensors; i++)
        if (w->tensors[i].map == map && w->tensors[i].data) {
            size_t at = (size_t)((const unsigned char *)w->tensors[i].data - w->maps[map].data);
            least = at < least ? at : least;
        }
    return least;
}

/* Parts of tensors spread over the file. Another training changes practically all numbers, so a few show it. */
static void add_samples(struct pn_sha256 *h, const struct pn_weights *w)
{
    size_t step = w->n_tensors / N_SAMPLES + 1;
    for (size_t i = 0; i < w->n_tensors; i += step) {
        const struct pn_tensor_info *t = &w->tensors[i];
        size_t n = t->bytes < SAMPLE ? t->bytes : SAMPLE;
        if (t->data)
            pn_sha256_update(h, (const unsigned char *)t->data + (t->bytes - n) / 2, n);
    }
}

/* Hashing a file of gigabytes would take as long as reading a long prompt. A blob's name has the digest of its content.
 * Of any other file: its size, its time, all metadata, and samples of its weights. */
static pantry_status add_model(struct pn_sha256 *h, const struct pn_weights *w, struct pantry_error *err)
{
    const char *digest = w->n_maps == 1 ? blob_digest(w->path) : NULL;
    struct stat st;
    if (digest) {
        add_text(h, digest);
        return PANTRY_OK;
    }
    if (!w->n_maps)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: not a file, so its prefixes are not kept on disk", w->path);
    if (stat(w->path, &st) != 0)
        return pn_fail(err, PANTRY_IO, "%s: %s", w->path, strerror(errno));
#ifdef __APPLE__
    add_number(h, (uint64_t)st.st_mtimespec.tv_sec);
    add_number(h, (uint64_t)st.st_mtimespec.tv_nsec);
#else
    add_number(h, (uint64_t)st.st_mtim.tv_sec);
    add_number(h, (uint64_t)st.st_mtim.tv_nsec);
#endif
    for (size_t i = 0; i < w->n_maps; i++) {
        size_t n = header_bytes(w, i);
        add_number(h, w->maps[i].size);
        add_number(h, n);
        pn_sha256_update(h, w->maps[i].data, n);
    }
    add_samples(h, w);
    return PANTRY_OK;
}

/* The middle of a matrix of an adapter, with its shape. */
static void add_matrix(struct pn_sha256 *h, const struct pn_weight *w)
{
    size_t bytes = (size_t)(w->n_mat * w->n_rows * w->n_cols) * sizeof(float), n = bytes < SAMPLE ? bytes : SAMPLE;
    add_number(h, (uint64_t)w->n_mat);
    add_number(h, (uint64_t)w->n_rows);
    add_number(h, (uint64_t)w->n_cols);
    pn_sha256_update(h, (const unsigned char *)w->plane[0].data + (bytes - n) / 2 / sizeof(float) * sizeof(float), n);
}

/* An adapter changes keys and values; its scale is in its matrices. */
static void add_adapters(struct pn_sha256 *h, const struct pn_model *model)
{
    for (int i = 0; i < model->n_adapters; i++) {
        const struct pn_adapter *a = model->adapters[i];
        add_number(h, a->pairs.len);
        for (size_t k = 0; k < a->pairs.len; k++) {
            const struct pn_adapter_pair *p = &a->pairs.data[k];
            add_text(h, p->name);
            add_matrix(h, p->a);
            add_matrix(h, p->b);
            add_number(h, p->magnitude != NULL);
            if (p->magnitude)
                pn_sha256_update(h, p->magnitude, (size_t)p->b->n_rows * sizeof(float));
        }
    }
}

/* ---- the memory ---- */

/* Where a cache's keys and values are in a page of its group. */
static void add_cache(struct pn_sha256 *h, const struct pn_runner *r, int i)
{
    const struct pn_cache *c = &r->pool->caches[i];
    int part = r->device_of_cache ? r->device_of_cache[i] : 0;
    uint64_t memory = r->pool->groups[c->group].slots.part[part].memory.address;
    add_number(h, (uint64_t)c->group);
    add_number(h, (uint64_t)part);
    add_number(h, (uint64_t)(uintptr_t)c->k - memory);
    add_number(h, (uint64_t)(uintptr_t)c->v - memory);
    add_number(h, c->k_row);
    add_number(h, c->v_row);
    add_number(h, (uint64_t)c->n_head);
}

static void add_memory(struct pn_sha256 *h, const struct pn_runner *r)
{
    const struct pn_kv_pool *pool = r->pool;
    add_text(h, pn_type_info(pool->type)->name);
    add_number(h, PN_PAGE_TOKENS);
    add_number(h, (uint64_t)r->n_parts);
    for (int i = 0; i < r->n_parts; i++) {
        add_text(h, r->parts[i].device->class->name);
        for (int g = 0; g < pool->n_groups; g++)
            add_number(h, pool->groups[g].slots.part[i].bytes);
        if (r->states) {
            add_number(h, r->states->first[i]);
            add_number(h, r->states->slots.part[i].bytes);
        }
    }
    add_number(h, (uint64_t)pool->n_groups);
    for (int g = 0; g < pool->n_groups; g++) {
        add_number(h, (uint64_t)pool->groups[g].window);
        add_number(h, (uint64_t)pool->groups[g].kind);
    }
    add_number(h, (uint64_t)pool->n_caches);
    for (int i = 0; i < pool->n_caches; i++)
        add_cache(h, r, i);
}

pantry_status pn_disk_identity(const struct pn_runner *r, const struct pn_rope_override *rope, struct pn_disk_key *out,
                               struct pantry_error *err)
{
    struct pn_sha256 hash;
    char hex[PN_SHA256_HEX + 1];
    pantry_status status = pn_sha256_start(&hash, err);
    if (status)
        return status;
    add_number(&hash, PN_DISK_VERSION);
    if ((status = add_model(&hash, r->model->weights, err))) {
        pn_sha256_free(&hash);
        return status;
    }
    add_adapters(&hash, r->model);
    add_memory(&hash, r);
    add_text(&hash, rope->scaling);
    add_float(&hash, rope->factor);
    add_float(&hash, rope->freq_base);
    if ((status = pn_sha256_finish(&hash, hex, err)))
        return status;
    return pn_disk_key_of(hex, PN_SHA256_HEX, out) ? PANTRY_OK : pn_no_memory(err, "the prefix cache");
}

bool pn_disk_root(const struct pn_disk_key *identity, int rotation, const char *owner, struct pn_disk_key *out)
{
    struct pn_buf text = {0};
    pn_buf_append(&text, identity->bytes, PN_DISK_KEY);
    pn_buf_printf(&text, " %d %s", rotation, owner);
    bool ok = !text.failed && pn_disk_key_of(text.data, text.len, out);
    pn_buf_free(&text);
    return ok;
}
