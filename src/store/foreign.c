/* Looking for models in the caches of other programs: see foreign.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FOLDERS = 20000, MAX_NAMED = 12 };

/* In the order in which a name is looked up. */
static const struct pn_cache *const caches[] = {&pn_cache_ollama, &pn_cache_lmstudio, &pn_cache_hub,
                                                &pn_cache_llama_cpp};
enum { N_CACHES = sizeof caches / sizeof *caches };

static bool is_off(void)
{
    const char *set = getenv("PANTRY_FOREIGN");
    return set && strcmp(set, "0") == 0;
}

/* The folders of a kind of cache that exist: real paths, each once, and not pantry's own. */
static void real_roots(const struct pn_cache *cache, struct pn_names *real)
{
    struct pn_names roots = {0};
    char *store = NULL, *own = NULL;
    *real = (struct pn_names){0};
    if (is_off())
        return;
    if (pn_layout_store(&store, NULL) == PANTRY_OK)
        own = realpath(store, NULL);
    cache->roots(&roots);
    for (size_t i = 0; i < roots.len; i++) {
        char *path = realpath(roots.data[i], NULL);
        bool known = !path || (own && strcmp(own, path) == 0);
        for (size_t k = 0; !known && k < real->len; k++)
            known = strcmp(real->data[k], path) == 0;
        if (known || !pn_vec_push(real, path))
            free(path);
    }
    pn_names_free(&roots);
    free(store);
    free(own);
}

/* Of models with one name, pn_foreign_find finds the first. */
static void keep_first(struct pn_stored_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->len; i++) {
        bool known = false;
        for (size_t k = 0; k < kept && !known; k++)
            known = strcmp(list->data[k].name, list->data[i].name) == 0;
        if (known)
            pn_stored_free(&list->data[i]);
        else
            list->data[kept++] = list->data[i];
    }
    list->len = kept;
}

pantry_status pn_foreign_list(struct pn_stored_list *list, struct pantry_error *err)
{
    struct pn_look look = {.folders = MAX_FOLDERS};
    for (size_t i = 0; i < N_CACHES; i++) {
        struct pn_names roots;
        real_roots(caches[i], &roots);
        for (size_t k = 0; k < roots.len; k++)
            caches[i]->list(&look, roots.data[k]);
        pn_names_free(&roots);
    }
    if (look.no_memory) {
        pn_store_list_free(look.found.data, look.found.len);
        return pn_no_memory(err, "the models of other programs");
    }
    keep_first(&look.found);
    *list = look.found;
    return PANTRY_OK;
}

static pantry_status refuse_several(const char *name, const struct pn_stored_list *found, struct pantry_error *err)
{
    struct pn_buf names = {0};
    for (size_t i = 0; i < found->len && i < MAX_NAMED; i++)
        pn_buf_printf(&names, "%s%s", i ? ", " : "", found->data[i].name);
    pantry_status status = names.failed ? pn_no_memory(err, name)
                                        : pn_fail(err, PANTRY_INVALID, "%s: %zu models fit; say which (%s%s)", name,
                                                  found->len, names.data, found->len > MAX_NAMED ? ", ..." : "");
    pn_buf_free(&names);
    return status;
}

/* Clients add ":latest" to names without a tag, which only Ollama's have. */
static void without_latest(const char *name, char out[PN_LOOK_NAME_MAX + 1])
{
    static const char latest[] = ":latest";
    size_t n = strlen(name), m = sizeof latest - 1;
    n -= n > m && strcmp(name + n - m, latest) == 0 ? m : 0;
    memcpy(out, name, n);
    out[n] = '\0';
}

/* The first kind of cache, and of it the first folder, that has the name decides. */
static void look_up(struct pn_look *look, const char *name)
{
    char plain[PN_LOOK_NAME_MAX + 1];
    without_latest(name, plain);
    for (size_t i = 0; i < N_CACHES && !look->found.len; i++) {
        struct pn_names roots;
        real_roots(caches[i], &roots);
        for (size_t k = 0; k < roots.len && !look->found.len; k++)
            caches[i]->find(look, roots.data[k], caches[i] == &pn_cache_ollama ? name : plain);
        pn_names_free(&roots);
    }
}

pantry_status pn_foreign_find(const char *name, struct pn_stored *out, struct pantry_error *err)
{
    struct pn_look look = {.folders = MAX_FOLDERS};
    pantry_status status = PANTRY_NOT_FOUND;
    if (strlen(name) <= PN_LOOK_NAME_MAX)
        look_up(&look, name);
    if (look.no_memory)
        status = pn_no_memory(err, "the models of other programs");
    else if (look.found.len > 1)
        status = refuse_several(name, &look.found, err);
    else if (look.found.len == 1)
        status = PANTRY_OK;
    else
        pn_fail(err, status, "%.200s: no other program has a model of that name", name);
    if (status == PANTRY_OK) {
        *out = look.found.data[0];
        free(look.found.data);
    } else {
        pn_store_list_free(look.found.data, look.found.len);
    }
    return status;
}

pantry_status pn_foreign_refuse(const char *name, const char *advice, struct pantry_error *err)
{
    struct pn_stored model;
    if (pn_foreign_find(name, &model, NULL) != PANTRY_OK)
        return pn_fail(err, PANTRY_NOT_FOUND, "%.200s: not in the store", name);
    const struct pn_cache *cache = caches[0];
    for (size_t i = 0; i < N_CACHES; i++)
        if (model.source == caches[i]->source)
            cache = caches[i];
    pantry_status status = pn_fail(err, PANTRY_UNSUPPORTED, "%.200s: belongs to %s (%s), where pantry only reads; %s",
                                   name, cache->owner, model.path, advice ? advice : cache->remove);
    pn_stored_free(&model);
    return status;
}

void pn_store_foreign_folders(struct pn_names *folders)
{
    *folders = (struct pn_names){0};
    for (size_t i = 0; i < N_CACHES && !is_off(); i++) {
        struct pn_names real;
        real_roots(caches[i], &real);
        for (size_t k = 0; k < real.len; k++)
            if (!pn_vec_push(folders, real.data[k]))
                free(real.data[k]);
        free(real.data);
    }
}
