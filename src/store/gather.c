/* The files of a model that is being made: see gather.h. */
#define _POSIX_C_SOURCE 200809L
#include "store/gather.h"

#include "base/alloc.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pantry_status pn_gather_add(struct pn_gather *g, const char *path, const char *expected, struct pantry_error *err)
{
    struct pn_gathered file = {.file = {.fd = -1}};
    struct stat st;
    if (pn_gather_find(g, path))
        return PANTRY_OK;
    if (expected)
        memcpy(file.expected, expected, sizeof file.expected);
    if (!(file.path = strdup(path)) || !pn_vec_push(g, file)) {
        free(file.path);
        return pn_no_memory(err, path);
    }
    g->data[g->len - 1].file.path = file.path;
    if (stat(path, &st) == 0)
        g->total += (uint64_t)st.st_size;
    return PANTRY_OK;
}

pantry_status pn_gather_hash(struct pn_gather *g, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    uint64_t done = 0;
    for (size_t i = 0; i < g->len && !status; i++) {
        struct pn_gathered *f = &g->data[i];
        status = pn_adopt_hash(g->job, f->path, done, g->total, &f->file, err);
        if (!status && *f->expected && strcmp(f->expected, f->file.hex) != 0)
            status = pn_fail(err, PANTRY_FORMAT, "the blob sha256:%s is damaged (its content has sha256:%s)",
                             f->expected, f->file.hex);
        done += status ? 0 : (uint64_t)f->file.st.st_size;
    }
    return status;
}

const struct pn_adopted *pn_gather_find(const struct pn_gather *g, const char *path)
{
    for (size_t i = 0; i < g->len; i++)
        if (strcmp(g->data[i].path, path) == 0)
            return &g->data[i].file;
    return NULL;
}

pantry_status pn_gather_note(struct pn_gather *g, const struct pn_digests *others, struct pantry_error *err)
{
    static atomic_uint number; /* nobody waits for this lock, so each has one of its own */
    struct pn_digests all = {0};
    char key[64];
    snprintf(key, sizeof key, "create-%ld-%u", (long)getpid(), atomic_fetch_add(&number, 1));
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < g->len + others->len && !status; i++) {
        struct pn_digest digest;
        memcpy(digest.hex, i < g->len ? g->data[i].file.hex : others->data[i - g->len].hex, sizeof digest.hex);
        if (!pn_vec_push(&all, digest))
            status = pn_no_memory(err, "the files of a model");
    }
    if (!status)
        status = pn_lock_try(g->store, key, &g->note, err);
    if (!status && g->note.fd < 0)
        status = pn_fail(err, PANTRY_IO, "%s/fetch/locks/%s: is held by somebody else", g->store, key);
    if (!status)
        status = pn_lock_keep(&g->note, all.data, all.len, err);
    free(all.data);
    return status;
}

static pantry_status put(struct pn_gather *g, const struct pn_adopted *file, struct pantry_error *err)
{
    struct pn_lock lock = PN_NO_LOCK;
    char key[sizeof "blob-" + PN_SHA256_HEX];
    snprintf(key, sizeof key, "blob-%s", file->hex);
    pantry_status status = pn_job_lock(g->job, g->store, key, &lock, err);
    if (!status)
        status = pn_adopt_put(g->job, g->store, file, err);
    pn_lock_release(&lock);
    return status;
}

pantry_status pn_gather_put(struct pn_gather *g, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < g->len && !status; i++)
        status = put(g, &g->data[i].file, err);
    return status;
}

void pn_gather_release(struct pn_gather *g)
{
    pn_lock_release(&g->note);
}

void pn_gather_free(struct pn_gather *g)
{
    pn_gather_release(g);
    for (size_t i = 0; i < g->len; i++) {
        pn_adopt_close(&g->data[i].file);
        free(g->data[i].path);
    }
    free(g->data);
    *g = (struct pn_gather){.note = PN_NO_LOCK};
}
