/* pantry_quantize: a model file with other storage types.
 *
 * Types are chosen first, by the mix's rules or by measured errors. Then tensors stream through: a piece of rows is
 * converted on all threads and written. Tensors that keep their type are copied. */
#define _POSIX_C_SOURCE 200809L
#include "engine/handle.h"
#include "engine/imatrix_file.h"
#include "engine/quantize_rows.h"
#include "engine/quantize_types.h"

#include "base/hash.h"
#include "base/os.h"
#include "format/gguf_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SAMPLED_ROWS = 48, COPY_BYTES = 8 << 20, KEY_CHARS = 16 };

struct job {
    const char *in, *out;
    struct pantry_quantize_options options;
    const struct pn_mix *mix;
    struct pn_weights *weights;
    struct pn_imatrix imatrix;
    struct pn_mix_requests requests;
    char **patterns;
    pn_type *pattern_types;
    pn_type *types; /* of the tensors, in the order of the input */
    struct pn_pool *pool;
    int n_threads;
    struct pn_gguf_writer *writer;
    struct pantry_quantize_result result;
    uint64_t bytes_done;
    char key[KEY_CHARS + 1];
};

/* ---- options ---- */

static pantry_status type_named(const char *name, const char *what, pn_type *out, struct pantry_error *err)
{
    char lower[32];
    size_t n = strlen(name);
    for (size_t i = 0; i <= n && i < sizeof lower; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 'a' - 'A' : name[i]);
    if (n >= sizeof lower || !pn_type_from_name(lower, out) || !pn_type_info(*out)->encode)
        return pn_fail(err, PANTRY_INVALID, "%s: \"%.40s\" is not a storage type that can be made (such as q4_k)", what,
                       name);
    return PANTRY_OK;
}

/* "PATTERN=TYPE"; the last = separates them. */
static pantry_status add_pattern(struct job *job, size_t i, const char *text, struct pantry_error *err)
{
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text)
        return pn_fail(err, PANTRY_INVALID, "\"%.200s\": is not PATTERN=TYPE, such as attn_v=q6_k", text);
    pantry_status status = type_named(equals + 1, text, &job->pattern_types[i], err);
    if (status)
        return status;
    job->patterns[i] = strndup(text, (size_t)(equals - text));
    return job->patterns[i] ? PANTRY_OK : pn_no_memory(err, text);
}

static pantry_status take_requests(struct job *job, struct pantry_error *err)
{
    const struct pantry_quantize_options *o = &job->options;
    pantry_status status = PANTRY_OK;
    size_t n = o->n_tensor_types;
    if (o->n_threads < 0 || o->n_threads > 1024)
        return pn_fail(err, PANTRY_INVALID, "n_threads: out of range (found %d, allowed 0..1024)", o->n_threads);
    if (o->target_bpw != 0 && !(o->target_bpw >= 1 && o->target_bpw <= 32))
        return pn_fail(err, PANTRY_INVALID, "target_bpw: out of range (found %g, allowed 1..32)",
                       (double)o->target_bpw);
    if (o->keep_split && o->split_size)
        return pn_fail(err, PANTRY_INVALID, "keep_split and split_size contradict each other");
    job->patterns = calloc(n + 1, sizeof *job->patterns);
    job->pattern_types = calloc(n + 1, sizeof *job->pattern_types);
    if (!job->patterns || !job->pattern_types)
        return pn_no_memory(err, job->in);
    for (size_t i = 0; !status && i < n; i++)
        status = add_pattern(job, i, o->tensor_types[i], err);
    job->requests = (struct pn_mix_requests){.patterns = (const char *const *)(void *)job->patterns,
                                             .types = job->pattern_types,
                                             .n_patterns = n,
                                             .has_output = o->output_type != NULL,
                                             .has_embedding = o->embedding_type != NULL,
                                             .pure = o->pure,
                                             .importance = o->imatrix != NULL};
    if (!status && o->output_type)
        status = type_named(o->output_type, "output_type", &job->requests.output, err);
    if (!status && o->embedding_type)
        status = type_named(o->embedding_type, "embedding_type", &job->requests.embedding, err);
    return status;
}

/* ---- importance ---- */

static size_t n_matrices_of(const struct pn_tensor_info *t)
{
    size_t n = 1;
    for (int i = 0; i < t->n_dims - 2; i++)
        n *= (size_t)t->shape[i];
    return n;
}

/* The mean squared inputs of a tensor's columns, (matrices, columns); *out is NULL if there are none. */
static pantry_status importance_of(struct job *job, const struct pn_tensor_info *t, float **out, size_t *n_matrices,
                                   struct pantry_error *err)
{
    size_t columns = (size_t)t->shape[t->n_dims - 1], matrices = n_matrices_of(t);
    const struct pn_imatrix_entry *e = pn_imatrix_find(&job->imatrix, t->name);
    *out = NULL;
    *n_matrices = matrices;
    if (!e)
        return PANTRY_OK;
    if (e->columns * e->matrices != columns * matrices)
        return pn_fail(err, PANTRY_FORMAT, "%s: importance of %s has %zu values, but the tensor has %zu columns",
                       job->options.imatrix, t->name, e->columns * e->matrices, columns * matrices);
    if (!(*out = malloc(columns * matrices * sizeof **out)))
        return pn_no_memory(err, t->name);
    for (size_t i = 0; i < columns * matrices; i++) {
        double count = e->count[i / e->columns];
        (*out)[i] = count > 0 ? (float)(e->sum[i] / count) : 1; /* an expert without inputs */
    }
    return PANTRY_OK;
}

/* ---- types by measured errors ---- */

/* Candidates, from the fewest bits on. */
static const pn_type ladder[] = {PN_TYPE_IQ2_XXS, PN_TYPE_IQ2_S, PN_TYPE_IQ3_XXS, PN_TYPE_IQ3_S, PN_TYPE_IQ4_XS,
                                 PN_TYPE_Q4_K,    PN_TYPE_Q5_K,  PN_TYPE_Q6_K,    PN_TYPE_Q8_0};
enum { RUNGS = sizeof ladder / sizeof *ladder };

struct measured {
    size_t tensor;
    double values, error[RUNGS], bits[RUNGS]; /* bits of the whole tensor */
    pn_type type[RUNGS];
    int rung;
};

static double count_values(const struct pn_tensor_info *t)
{
    double n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= (double)t->shape[i];
    return n;
}

static pantry_status measure(struct job *job, size_t i, struct measured *m, struct pantry_error *err)
{
    const struct pn_tensor_info *t = &job->weights->tensors[i];
    float *weights;
    size_t matrices;
    pantry_status status = importance_of(job, t, &weights, &matrices, err);
    m->tensor = i;
    m->values = count_values(t);
    for (int r = 0; !status && r < RUNGS; r++) {
        const struct pn_type_info *info =
            pn_type_info(m->type[r] = pn_mix_fallback(ladder[r], t->shape[t->n_dims - 1]));
        m->bits[r] = m->values / info->block * info->bytes * 8;
        status = pn_quantize_error(job->pool, t, m->type[r], weights, matrices, SAMPLED_ROWS, &m->error[r], err);
        if (!status && job->options.cancel && pantry_cancel_is_set(job->options.cancel))
            status = pn_fail(err, PANTRY_CANCELLED, "cancelled while measuring %s", t->name);
    }
    free(weights);
    return status;
}

/* Every tensor begins with the fewest bits; then the step that saves the most error per bit is taken, until the file
 * would exceed the target. A step may skip rungs. */
static void climb(struct measured *m, size_t n, double left)
{
    for (;;) {
        double best = 0;
        size_t which = n;
        int to = 0;
        for (size_t i = 0; i < n; i++)
            for (int r = m[i].rung + 1; r < RUNGS; r++) {
                double bits = m[i].bits[r] - m[i].bits[m[i].rung];
                double gain = m[i].error[m[i].rung] - m[i].error[r];
                if (gain <= 0 || bits > left)
                    continue;
                double rate = bits > 0 ? gain / bits : INFINITY;
                if (rate > best) {
                    best = rate;
                    which = i;
                    to = r;
                }
            }
        if (which == n)
            return;
        left -= m[which].bits[to] - m[which].bits[m[which].rung];
        m[which].rung = to;
    }
}

static pantry_status choose_by_errors(struct job *job, struct pantry_error *err)
{
    size_t n = 0;
    struct measured *m = calloc(job->weights->n_tensors + 1, sizeof *m);
    pantry_status status = m ? PANTRY_OK : pn_no_memory(err, job->in);
    double left = 0;
    for (size_t i = 0; !status && i < job->weights->n_tensors; i++) {
        const struct pn_tensor_info *t = &job->weights->tensors[i];
        left += count_values(t) * (double)job->options.target_bpw;
        if (!pn_mix_quantizes(t)) {
            left -= (double)t->bytes * 8;
            continue;
        }
        status = measure(job, i, &m[n], err);
        left -= m[n].bits[0];
        n++;
    }
    if (!status && left < 0)
        status = pn_fail(
            err, PANTRY_INVALID, "target_bpw: %g bits per weight are too few for this model; the least is %.2f",
            (double)job->options.target_bpw, (double)job->options.target_bpw - left / (double)job->result.n_params);
    if (!status)
        climb(m, n, left);
    for (size_t k = 0; !status && k < n; k++)
        job->types[m[k].tensor] = m[k].type[m[k].rung];
    free(m);
    return status;
}

/* ---- the output ---- */

static bool is_replaced(const char *key)
{
    static const char *const keys[] = {
        "general.quantization_version", "general.file_type", "general.alignment", "split.no", "split.count",
        "split.tensors.count"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return strncmp(key, "quantize.imatrix.", 17) == 0;
}

static void put_metadata(const struct job *job, struct pn_gguf_meta *meta)
{
    for (size_t i = 0; i < job->weights->n_meta; i++)
        if (!is_replaced(job->weights->meta[i].key))
            pn_gguf_copy(meta, &job->weights->meta[i]);
    pn_gguf_u32(meta, "general.quantization_version", 2);
    pn_gguf_u32(meta, "general.file_type", (uint32_t)job->mix->file_type);
    if (!job->options.imatrix)
        return;
    const char *name = strrchr(job->options.imatrix, '/');
    pn_gguf_str(meta, "quantize.imatrix.file", name ? name + 1 : job->options.imatrix);
    if (job->imatrix.datasets.len)
        pn_gguf_str(meta, "quantize.imatrix.dataset", job->imatrix.datasets.data[0]);
    pn_gguf_u32(meta, "quantize.imatrix.entries_count", (uint32_t)job->imatrix.entries.len);
    pn_gguf_u32(meta, "quantize.imatrix.chunks_count", job->imatrix.chunks);
}

static void hash_file(struct pn_sha256 *hash, const char *path)
{
    struct stat st = {0};
    char text[96];
    if (!path)
        return;
    stat(path, &st);
    snprintf(text, sizeof text, ":%lld:%lld;", (long long)st.st_size, (long long)st.st_mtime);
    pn_sha256_update(hash, path, strlen(path));
    pn_sha256_update(hash, text, strlen(text));
}

/* Names the job by its inputs and types, so that only the same one resumes. */
static pantry_status make_key(struct job *job, struct pantry_error *err)
{
    struct pn_sha256 hash;
    char hex[PN_SHA256_HEX + 1];
    pantry_status status = pn_sha256_start(&hash, err);
    if (status)
        return status;
    hash_file(&hash, job->weights->path);
    hash_file(&hash, job->options.imatrix);
    pn_sha256_update(&hash, job->types, job->weights->n_tensors * sizeof *job->types);
    pn_sha256_update(&hash, job->mix->name, strlen(job->mix->name));
    if ((status = pn_sha256_finish(&hash, hex, err)))
        return status;
    memcpy(job->key, hex, KEY_CHARS);
    return PANTRY_OK;
}

static pantry_status begin(struct job *job, struct pantry_error *err)
{
    struct pn_gguf_meta meta = {0};
    uint32_t alignment = 0;
    pantry_status status = make_key(job, err);
    pn_meta_u32(job->weights, "general.alignment", &alignment, NULL);
    struct pn_gguf_options options = {.alignment = alignment,
                                      .split_size = job->options.split_size,
                                      .keep_shards = job->options.keep_split,
                                      .key = job->key};
    if (!status)
        status = pn_gguf_writer_new(job->out, &options, &job->writer, err);
    for (size_t i = 0; !status && i < job->weights->n_tensors; i++) {
        const struct pn_tensor_info *t = &job->weights->tensors[i];
        pn_gguf_shard(job->writer, t->map);
        status = pn_gguf_add(job->writer, t->name, job->types[i], t->n_dims, t->shape, err);
    }
    if (!status) {
        put_metadata(job, &meta);
        status = pn_gguf_begin(job->writer, &meta, err);
    }
    pn_gguf_meta_free(&meta);
    return status;
}

static pantry_status sink(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    struct job *job = user;
    return pn_gguf_write(job->writer, bytes, n, err);
}

static pantry_status write_tensor(struct job *job, size_t i, struct pantry_error *err)
{
    const struct pn_tensor_info *t = &job->weights->tensors[i];
    pantry_status status = PANTRY_OK;
    float *weights = NULL;
    size_t matrices = 1;
    if (job->types[i] == t->type) {
        for (size_t at = 0; !status && at < t->bytes; at += COPY_BYTES)
            status = pn_gguf_write(job->writer, (const char *)t->data + at,
                                   t->bytes - at < COPY_BYTES ? t->bytes - at : COPY_BYTES, err);
        return status;
    }
    if (pn_type_info(job->types[i])->encode_weighted)
        status = importance_of(job, t, &weights, &matrices, err);
    if (!status)
        status = pn_quantize_rows(job->pool, job->n_threads, t, job->types[i], weights, matrices, NULL,
                                  job->options.cancel, sink, job, err);
    free(weights);
    return status;
}

static uint64_t bytes_of(const struct job *job, size_t i)
{
    const struct pn_tensor_info *t = &job->weights->tensors[i];
    return t->bytes / pn_type_info(t->type)->bytes * pn_type_info(t->type)->block / pn_type_info(job->types[i])->block *
           pn_type_info(job->types[i])->bytes;
}

static void report(struct job *job, size_t i)
{
    const struct pn_tensor_info *t = &job->weights->tensors[i];
    job->bytes_done += bytes_of(job, i);
    if (!job->options.callback)
        return;
    const struct pantry_quantize_progress progress = {.tensor = t->name,
                                                      .from = pn_type_info(t->type)->name,
                                                      .to = pn_type_info(job->types[i])->name,
                                                      .number = i + 1,
                                                      .n_tensors = job->weights->n_tensors,
                                                      .bytes_done = job->bytes_done,
                                                      .bytes_total = job->result.bytes_out};
    job->options.callback(job->options.user, &progress);
}

static pantry_status write_all(struct job *job, struct pantry_error *err)
{
    pantry_status status = job->options.dry_run ? PANTRY_OK : begin(job, err);
    size_t done = status || job->options.dry_run ? 0 : pn_gguf_done(job->writer);
    job->result.n_resumed = done;
    for (size_t i = 0; !status && i < job->weights->n_tensors; i++) {
        if (!job->options.dry_run && i >= done)
            status = write_tensor(job, i, err);
        if (!status && pn_weights_damaged(job->weights))
            status = pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", job->in);
        if (!status)
            report(job, i);
    }
    if (!status && !job->options.dry_run)
        status = pn_gguf_finish(job->writer, err);
    return status;
}

/* ---- all of it ---- */

static void count(struct job *job)
{
    struct pantry_quantize_result *r = &job->result;
    for (size_t i = 0; i < job->weights->n_tensors; i++) {
        const struct pn_tensor_info *t = &job->weights->tensors[i];
        bool changes = job->types[i] != t->type;
        r->bytes_in += t->bytes;
        r->bytes_out += bytes_of(job, i);
        r->n_quantized += changes;
        r->n_requantized += changes && pn_type_info(t->type)->block > 1;
        r->n_unimportant += changes && job->options.imatrix && pn_type_info(job->types[i])->encode_weighted &&
                            !pn_imatrix_find(&job->imatrix, t->name);
    }
    r->n_tensors = job->weights->n_tensors;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The output, or its first shard of as many as the input has, would replace the input. */
static pantry_status check_output(const struct job *job, struct pantry_error *err)
{
    struct pn_buf shard = {0};
    size_t len = strlen(job->out), suffix = strlen(".gguf");
    len -= len > suffix && strcmp(job->out + len - suffix, ".gguf") == 0 ? suffix : 0;
    pn_buf_printf(&shard, "%.*s-%05d-of-%05zu.gguf", (int)len, job->out, 1, job->weights->n_maps);
    bool same = same_file(job->weights->path, job->out) || same_file(job->in, job->out) ||
                (shard.data && same_file(job->weights->path, shard.data));
    pn_buf_free(&shard);
    return same ? pn_fail(err, PANTRY_INVALID, "%s: is the input, which would be lost; name another file", job->out)
                : PANTRY_OK;
}

static pantry_status run(struct job *job, struct pantry_error *err)
{
    pantry_status status = pn_weights_open(job->in, &job->weights, err);
    if (!status)
        status = check_output(job, err);
    if (!status && job->options.imatrix)
        status = pn_imatrix_add_file(&job->imatrix, job->options.imatrix, err);
    if (!status)
        status = pn_pool_new(job->n_threads, &job->pool, err);
    if (!status && !(job->types = calloc(job->weights->n_tensors + 1, sizeof *job->types)))
        status = pn_no_memory(err, job->in);
    if (status)
        return status;
    for (size_t i = 0; i < job->weights->n_tensors; i++)
        job->result.n_params += (uint64_t)count_values(&job->weights->tensors[i]);
    status = pn_mix_types(job->weights, job->mix, &job->requests, job->types, &job->result.n_fallbacks, err);
    if (!status && job->options.target_bpw > 0)
        status = choose_by_errors(job, err);
    if (status)
        return status;
    count(job);
    return write_all(job, err);
}

pantry_status pantry_quantize(const char *in, const char *out, const char *type,
                              const struct pantry_quantize_options *options, struct pantry_quantize_result *result,
                              struct pantry_error *error)
{
    struct job job = {
        .in = in, .out = out, .options = {.size = sizeof job.options}, .result = {.size = sizeof job.result}};
    pantry_status status = result ? pn_check_result(result, "results of quantizing", error) : PANTRY_OK;
    if (!status)
        status = pn_take_options(&job.options, options, "options of quantizing", error);
    if (!status)
        status = pn_mix_find(type, &job.mix, error);
    if (!status)
        status = take_requests(&job, error);
    job.n_threads = job.options.n_threads ? job.options.n_threads : pn_os_physical_cores();
    if (!status)
        status = run(&job, error);
    if (!status && result)
        pn_give_result(result, &job.result);
    pn_gguf_writer_free(job.writer);
    pn_pool_free(job.pool);
    pn_imatrix_free(&job.imatrix);
    pn_weights_close(job.weights);
    for (size_t i = 0; job.patterns && i < job.options.n_tensor_types; i++)
        free(job.patterns[i]);
    free(job.patterns);
    free(job.pattern_types);
    free(job.types);
    return status;
}
