/* Responses that later ones may continue, in memory: see openai_responses.h. */
#include "server/api/openai_responses.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_KEPT = 1024, MAX_BYTES = 64 << 20 };

/* Text, so that no value is shared between threads and its size is known. */
struct kept {
    char id[PN_OPENAI_ID], owner[PN_HTTP_OWNER + 1];
    char *response, *items;
    size_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept list[MAX_KEPT]; /* oldest first */
static size_t n_kept, n_bytes;

static void take_off(size_t i)
{
    n_bytes -= list[i].bytes;
    free(list[i].response);
    free(list[i].items);
    memmove(list + i, list + i + 1, (--n_kept - i) * sizeof *list);
}

static const char *owner_of(const struct pn_exchange *x)
{
    const char *owner = pn_http_owner(x);
    return owner ? owner : "";
}

static size_t find(const struct pn_exchange *x, const char *id)
{
    size_t i = n_kept;
    while (i > 0 && (strcmp(list[i - 1].id, id) != 0 || strcmp(list[i - 1].owner, owner_of(x)) != 0))
        i--;
    return i; /* one more than its place; 0: it is not there */
}

void pn_openai_keep_response(const struct pn_exchange *x, const char *id, const json_t *response, const json_t *items)
{
    struct kept k = {.response = json_dumps(response, JSON_COMPACT), .items = json_dumps(items, JSON_COMPACT)};
    strncpy(k.id, id, sizeof k.id - 1);
    strncpy(k.owner, owner_of(x), sizeof k.owner - 1);
    if (k.response && k.items)
        k.bytes = strlen(k.response) + strlen(k.items);
    if (!k.bytes || k.bytes > MAX_BYTES) {
        free(k.response);
        free(k.items);
        return;
    }
    pthread_mutex_lock(&lock);
    while (n_kept && (n_kept == MAX_KEPT || n_bytes + k.bytes > MAX_BYTES))
        take_off(0);
    list[n_kept++] = k;
    n_bytes += k.bytes;
    pthread_mutex_unlock(&lock);
}

static json_t *load(const struct pn_exchange *x, const char *id, size_t member)
{
    pthread_mutex_lock(&lock);
    size_t i = find(x, id);
    json_t *v = i ? json_loads(*(char **)((char *)&list[i - 1] + member), 0, NULL) : NULL;
    pthread_mutex_unlock(&lock);
    return v;
}

json_t *pn_openai_kept_response(const struct pn_exchange *x, const char *id)
{
    return load(x, id, offsetof(struct kept, response));
}

json_t *pn_openai_kept_items(const struct pn_exchange *x, const char *id)
{
    return load(x, id, offsetof(struct kept, items));
}

bool pn_openai_forget_response(const struct pn_exchange *x, const char *id)
{
    pthread_mutex_lock(&lock);
    size_t i = find(x, id);
    if (i)
        take_off(i - 1);
    pthread_mutex_unlock(&lock);
    return i > 0;
}
