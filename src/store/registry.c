/* Registries: see registry.h. No credentials exist, so none can be sent to a wrong place; an anonymous token goes to
 * the registry that asked for it and nowhere else. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/registry.h"

#include "store/challenge.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKEN = 16 << 10, MAX_TOKEN_ANSWER = 64 << 10, MAX_TOKENS = 8 };

/* ---- manifests ---- */

bool pn_layers_add(struct pn_layers *layers, const char *hex, uint64_t bytes)
{
    for (size_t i = 0; i < layers->n; i++)
        if (strcmp(layers->layer[i].hex, hex) == 0)
            return layers->layer[i].bytes == bytes;
    struct pn_layer *layer = &layers->layer[layers->n++];
    memcpy(layer->hex, hex, sizeof layer->hex);
    layer->bytes = bytes;
    return true;
}

static pantry_status take_layer(const json_t *value, const char *what, struct pn_layers *layers,
                                struct pantry_error *err)
{
    const char *hex = pn_digest_hex(json_string_value(json_object_get(value, "digest")));
    const json_t *size = json_object_get(value, "size");
    json_int_t bytes = json_integer_value(size);
    if (!hex)
        return pn_fail(err, PANTRY_FORMAT, "the digest of a %s is not sha256: and 64 hexadecimal digits", what);
    if (!json_is_integer(size) || bytes < 0 || bytes > (json_int_t)1 << 50)
        return pn_fail(err, PANTRY_FORMAT, "the size of a %s is out of range (found %lld, allowed 0..2^50)", what,
                       (long long)bytes);
    if (!pn_layers_add(layers, hex, (uint64_t)bytes))
        return pn_fail(err, PANTRY_FORMAT, "blob %.12s has two sizes", hex);
    return PANTRY_OK;
}

static pantry_status take_layers(const json_t *root, struct pn_layers *layers, struct pantry_error *err)
{
    const json_t *array = json_object_get(root, "layers"), *config = json_object_get(root, "config");
    if (json_object_get(root, "manifests"))
        return pn_fail(err, PANTRY_UNSUPPORTED, "is an index of several manifests, not a model");
    if (!json_is_array(array) || json_array_size(array) > PN_LAYERS_MAX)
        return pn_fail(err, PANTRY_FORMAT, "layers is not an array of at most %d", PN_LAYERS_MAX);
    pantry_status status = config ? take_layer(config, "configuration", layers, err) : PANTRY_OK;
    size_t models;
    bool folder;
    const json_t *model[PN_LAYERS_MAX];
    for (size_t i = 0; i < json_array_size(array) && !status; i++) {
        const json_t *layer = json_array_get(array, i);
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        if (!pn_media_is_known(layer))
            return pn_fail(err, PANTRY_UNSUPPORTED, "is not a model: layer %zu has the type %.100s", i,
                           type ? type : "(none)");
        status = take_layer(layer, "layer", layers, err);
    }
    return status ? status : pn_media_models(array, model, &models, &folder, err);
}

pantry_status pn_layers_parse(const char *text, size_t n, struct pn_layers *layers, struct pantry_error *err)
{
    layers->n = 0;
    json_error_t why;
    json_t *root = n <= PN_MANIFEST_MAX ? json_loadb(text, n, JSON_REJECT_DUPLICATES, &why) : NULL;
    pantry_status status =
        json_is_object(root) ? take_layers(root, layers, err) : pn_fail(err, PANTRY_FORMAT, "is not a JSON object");
    json_decref(root);
    if (status)
        pn_fail_prefix(err, "the manifest");
    return status;
}

/* ---- the registry ---- */

static bool is_this_machine(const char *host)
{
    size_t n = strcspn(host, ":/");
    return (n == 9 && strncmp(host, "localhost", 9) == 0) ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n);
}

bool pn_registry_is_safe(const char *origin)
{
    return strncmp(origin, "https://", 8) == 0 || (strncmp(origin, "http://", 7) == 0 && is_this_machine(origin + 7));
}

pantry_status pn_registry_open_at(struct pn_registry *r, const struct pn_model_name *name, const char *origin,
                                  bool public_only, const pantry_cancel *cancel, struct pantry_error *err)
{
    enum { STALL_SECONDS = 30 };
    *r = (struct pn_registry){.name = name, .origin = strdup(origin)};
    size_t n = strlen(origin);
    if (r->origin && n && origin[n - 1] == '/')
        r->origin[n - 1] = '\0';
    r->http = (struct pn_http){.origin = r->origin,
                               .plain = strncmp(origin, "http:", 5) == 0,
                               .public_only = public_only,
                               .stall_seconds = STALL_SECONDS,
                               .cancel = cancel};
    if (!r->origin || !pn_http_init())
        return pn_no_memory(err, name->host);
    return PANTRY_OK;
}

const char *pn_registry_server(const char *host)
{
    bool docker = strcmp(host, "docker.io") == 0 || strcmp(host, "index.docker.io") == 0;
    return docker ? "registry-1.docker.io" : host;
}

pantry_status pn_registry_open(struct pn_registry *r, const struct pn_model_name *name, bool insecure, bool public_only,
                               const pantry_cancel *cancel, struct pantry_error *err)
{
    *r = (struct pn_registry){0};
    const char *server = pn_registry_server(name->host);
    char *origin = pn_layout_path("%s://%s", insecure || is_this_machine(server) ? "http" : "https", server);
    pantry_status status =
        origin ? pn_registry_open_at(r, name, origin, public_only, cancel, err) : pn_no_memory(err, name->host);
    free(origin);
    return status;
}

void pn_registry_close(struct pn_registry *r)
{
    free(r->http.token);
    free(r->origin);
    *r = (struct pn_registry){0};
}

char *pn_registry_blob(const struct pn_registry *r, const char *hex)
{
    return pn_layout_path("%s/v2/%s/%s/blobs/sha256:%s", r->origin, r->name->space, r->name->model, hex);
}

/* ---- tokens ---- */

static void add_query(struct pn_buf *url, const char *key, const char *value)
{
    char *escaped = value[0] ? curl_easy_escape(NULL, value, 0) : NULL;
    if (escaped && !url->failed)
        pn_buf_printf(url, "%c%s=%s", strchr(url->data, '?') ? '&' : '?', key, escaped);
    curl_free(escaped);
}

/* The address to ask: the realm with service and scopes. NULL: out of memory. */
static char *token_url(const struct pn_registry *r, const struct pn_challenge *c)
{
    struct pn_buf url = {0};
    pn_buf_puts(&url, c->realm);
    add_query(&url, "service", c->service);
    if (!r->scopes[0])
        add_query(&url, "scope", c->scope);
    for (size_t i = 0; i < sizeof r->scopes / sizeof *r->scopes && r->scopes[i]; i++)
        add_query(&url, "scope", r->scopes[i]);
    char *text = url.failed ? NULL : pn_buf_take(&url);
    pn_buf_free(&url);
    return text;
}

/* {"token": "..."} or {"access_token": "..."}: printable characters only, as it becomes part of a header. */
static pantry_status take_token(struct pn_registry *r, const struct pn_buf *body, struct pantry_error *err)
{
    json_t *root = json_loadb(body->data ? body->data : "", body->len, 0, NULL);
    const char *token = json_string_value(json_object_get(root, "token"));
    if (!token)
        token = json_string_value(json_object_get(root, "access_token"));
    size_t n = token ? strlen(token) : 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)token[i] <= 0x20 || (unsigned char)token[i] >= 0x7F)
            n = 0;
    pantry_status status = PANTRY_OK;
    r->generation++;
    if (n == 0 || n > MAX_TOKEN) {
        status = pn_fail(err, PANTRY_FORMAT, "%s: its token server answered without a valid token", r->name->host);
    } else {
        free(r->http.token);
        if (!(r->http.token = strdup(token)))
            status = pn_no_memory(err, "a token");
    }
    json_decref(root);
    return status;
}

/* May we go where the challenge sends us? */
static pantry_status check_realm(const struct pn_registry *r, const char *realm, struct pantry_error *err)
{
    char *host = NULL, *own = NULL;
    bool https, own_https;
    pantry_status status = PANTRY_OK;
    if (!pn_http_host(realm, &host, &https) || !pn_http_host(r->origin, &own, &own_https))
        status = pn_fail(err, PANTRY_FORMAT, "%s: sends to %.200s for a token, which is not an http or https address",
                         r->name->host, realm);
    else if (!pn_challenge_trusts(own, host))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: sends to another host for a token (%.200s), which is refused",
                         r->name->host, realm);
    else if (!https && own_https)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: sends to %.200s for a token, which is not https", r->name->host,
                         realm);
    free(host);
    free(own);
    return status;
}

pantry_status pn_registry_authorize(struct pn_registry *r, const struct pn_http_head *head, struct pantry_error *err)
{
    struct pn_challenge challenge;
    struct pn_http_head answer;
    struct pn_buf body = {0};
    if (!pn_challenge_parse(head->challenge, strlen(head->challenge), &challenge) || ++r->tokens > MAX_TOKENS)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: needs an account, and pantry has none", r->name->host);
    pantry_status status = check_realm(r, challenge.realm, err);
    if (status)
        return status;
    char *url = token_url(r, &challenge);
    struct pn_http anonymous = r->http;
    anonymous.token = NULL;
    status = url ? pn_http_get(&anonymous, url, "Accept: application/json", MAX_TOKEN_ANSWER, &answer, &body, err)
                 : pn_no_memory(err, challenge.realm);
    if (!status && answer.status != 200)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: gives no token without an account (status %ld)", r->name->host,
                         answer.status);
    if (!status)
        status = take_token(r, &body, err);
    pn_buf_free(&body);
    free(url);
    return status;
}

/* ---- requests ---- */

pantry_status pn_registry_call(struct pn_registry *r, const char *url, const struct pn_http_body *body,
                               const char *const *lines, struct pn_http_head *head, struct pn_buf *answer,
                               CURLcode *code, struct pantry_error *err)
{
    pantry_status status = pn_http_call(&r->http, url, body, lines, head, answer, code, err);
    if (!status && head->status == 401 && !(status = pn_registry_authorize(r, head, err)))
        status = pn_http_call(&r->http, url, body, lines, head, answer, code, err);
    if (!status && head->status / 100 == 2)
        r->tokens = 0; /* they expire during long uploads */
    return status;
}

pantry_status pn_registry_ask(struct pn_registry *r, const char *url, const struct pn_http_body *body,
                              const char *const *lines, struct pn_http_head *head, struct pantry_error *err)
{
    enum { MAX_TRIES = 4 };
    for (int n = 1;; n++) {
        struct pn_buf answer = {.limit = MAX_TOKEN_ANSWER};
        CURLcode code;
        pantry_status status = pn_registry_call(r, url, body, lines, head, &answer, &code, err);
        pn_buf_free(&answer);
        if ((status && status != PANTRY_IO) || n == MAX_TRIES || !pn_http_may_retry(code, head->status))
            return status;
        if ((status = pn_http_pause(&r->http, n, head->retry_after, err)))
            return status;
    }
}

/* {"errors": [{"code": "DENIED", "message": "..."}]}, or nothing. */
static void put_words(const char *said, char *words, size_t size)
{
    json_t *root = json_loads(said, 0, NULL);
    const json_t *first = json_array_get(json_object_get(root, "errors"), 0);
    const char *code = json_string_value(json_object_get(first, "code"));
    const char *message = json_string_value(json_object_get(first, "message"));
    words[0] = '\0';
    if (code || message)
        snprintf(words, size, ": %.60s%s%.200s", code ? code : "", code && message ? ", " : "", message ? message : "");
    for (char *c = words; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F)
            *c = '?';
    json_decref(root);
}

pantry_status pn_registry_refused(const struct pn_registry *r, const char *what, const struct pn_http_head *head,
                                  struct pantry_error *err)
{
    char words[300];
    put_words(head->said, words, sizeof words);
    if (head->status == 401 || head->status == 403)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: needs an account that may do this, and pantry has none%s",
                       r->name->host, words);
    return pn_fail(err, PANTRY_IO, "%s: refuses %s (status %ld%s)", r->name->host, what, head->status, words);
}

char *pn_registry_manifest_url(const struct pn_registry *r)
{
    return pn_layout_path("%s/v2/%s/%s/manifests/%s", r->origin, r->name->space, r->name->model, r->name->tag);
}

pantry_status pn_registry_manifest(struct pn_registry *r, struct pn_buf *text, struct pantry_error *err)
{
    static const char accept[] = "Accept: " PN_TYPE_MANIFEST ", " PN_TYPE_OCI_MANIFEST;
    const struct pn_model_name *name = r->name;
    char *url = pn_registry_manifest_url(r);
    if (!url)
        return pn_no_memory(err, name->model);
    struct pn_http_head head;
    pantry_status status = pn_http_get(&r->http, url, accept, PN_MANIFEST_MAX, &head, text, err);
    if (!status && head.status == 401 && !(status = pn_registry_authorize(r, &head, err)))
        status = pn_http_get(&r->http, url, accept, PN_MANIFEST_MAX, &head, text, err);
    free(url);
    if (status || head.status == 200)
        return status;
    if (head.status == 404)
        return pn_fail(err, PANTRY_NOT_FOUND, "%s has no such model", name->host);
    if (head.status == 401 || head.status == 403)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: needs an account, and pantry has none (or there is no such model)",
                       name->host);
    return pn_fail(err, PANTRY_IO, "%s: cannot get the manifest (status %ld)", name->host, head.status);
}
