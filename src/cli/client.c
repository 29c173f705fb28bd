/* A client of a service: see client.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/client.h"

#include "base/status.h"
#include "cli/options.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    POLL_MS = 100,        /* how soon a cancelled call ends */
    MAX_HEAD = 64 << 10,  /* bytes of all headers */
    MAX_ERROR = 64 << 10, /* of the body of an error */
    MAX_REPLY = 64 << 20, /* of one that is not a stream */
    MAX_KEY = 1024,       /* of an API key */
    NEAR_MS = 2000,       /* how long a service on this machine may take to say that it runs, ... */
    FAR_MS = 15000,       /* ... and one on another */
    CONNECT_SECONDS = 20,
};

/* ---- one transfer ---- */

struct transfer {
    const struct pn_client *client;
    const struct pn_call *call;
    CURL *easy;
    uint64_t sent_bytes; /* of a file */
    struct curl_slist *lines;
    char *sent;
    long milliseconds; /* most time; 0: any */
    long status;
    size_t head_bytes;
    bool lined; /* the reply is a stream of lines */
    struct pn_ndjson reader;
    struct pn_buf whole; /* any other reply */
    pantry_status bad;   /* of the lines */
    struct pantry_error *err;
    char why[CURL_ERROR_SIZE];
};

static size_t take_header(char *line, size_t size, size_t n, void *user)
{
    static const char type[] = "content-type:", lines[] = "application/x-ndjson";
    struct transfer *t = user;
    (void)size; /* 1 */
    if ((t->head_bytes += n) > MAX_HEAD)
        return 0;
    if (n > sizeof type && strncasecmp(line, type, sizeof type - 1) == 0) {
        const char *value = line + sizeof type - 1, *end = line + n;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        t->lined = (size_t)(end - value) >= sizeof lines - 1 && strncasecmp(value, lines, sizeof lines - 1) == 0;
    }
    return n;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    (void)size; /* 1 */
    if (!t->status) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
        t->whole.limit = t->status / 100 == 2 ? MAX_REPLY : MAX_ERROR;
    }
    if (t->lined && t->status / 100 == 2) {
        t->bad = pn_ndjson_push(&t->reader, bytes, n, t->err);
        return t->bad || t->reader.unwanted ? 0 : n;
    }
    pn_buf_append(&t->whole, bytes, n);
    return t->whole.failed || t->whole.over_limit ? 0 : n;
}

static bool add_line(struct transfer *t, const char *name, const char *value)
{
    char line[MAX_KEY + 64];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(t->lines, line);
    t->lines = longer ? longer : t->lines;
    return longer != NULL;
}

/* The next bytes of a file. A file that has become shorter ends the transfer. */
static size_t give_file(char *to, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    uint64_t left = t->call->file_bytes - t->sent_bytes;
    size_t wanted = n * size < left ? n * size : (size_t)left, got = fread(to, 1, wanted, t->call->file);
    if (got < wanted)
        return CURL_READFUNC_ABORT;
    t->sent_bytes += got;
    if (t->call->sent)
        t->call->sent(t->call->user, t->sent_bytes);
    return got;
}

static void set_up_body(struct transfer *t)
{
    CURL *easy = t->easy;
    curl_off_t bytes = t->sent ? (curl_off_t)strlen(t->sent) : 0;
    if (t->call->file) {
        bytes = (curl_off_t)t->call->file_bytes;
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_file);
        curl_easy_setopt(easy, CURLOPT_READDATA, t);
    } else if (t->sent) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->sent);
    }
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, bytes);
    if (strcmp(t->call->method, "HEAD") == 0)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, t->call->method);
}

static void set_up(struct transfer *t, const char *url)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    set_up_body(t);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->lines);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "pantry/" PANTRY_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->why);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, t->milliseconds);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (t->client->local)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
}

static bool is_cancelled(const struct transfer *t)
{
    return t->call->cancel && pantry_cancel_is_set(t->call->cancel);
}

/* Runs the transfer; Ctrl-C ends it within a poll, also while nothing arrives. */
static CURLcode perform(struct transfer *t)
{
    CURLM *multi = curl_multi_init();
    CURLcode code = CURLE_OUT_OF_MEMORY;
    int running = 1, left;
    if (!multi || curl_multi_add_handle(multi, t->easy)) {
        curl_multi_cleanup(multi);
        return code;
    }
    code = CURLE_ABORTED_BY_CALLBACK;
    while (running && !is_cancelled(t))
        if (curl_multi_perform(multi, &running) || (running && curl_multi_poll(multi, NULL, 0, POLL_MS, NULL)))
            break;
    for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));)
        if (m->msg == CURLMSG_DONE)
            code = m->data.result;
    curl_multi_remove_handle(multi, t->easy);
    curl_multi_cleanup(multi);
    return code;
}

static bool is_good_key(const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < n; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return false;
    return n <= MAX_KEY;
}

static pantry_status transfer(struct transfer *t, CURLcode *code, struct pantry_error *err)
{
    char url[PN_URL_MAX + 128], bearer[MAX_KEY + 16];
    const json_t *body = t->call->body;
    t->err = err;
    t->easy = curl_easy_init();
    t->sent = body ? json_dumps(body, JSON_COMPACT) : NULL;
    bool good = t->easy && (!body || t->sent) && add_line(t, "Expect", "");
    if (good && (body || t->call->file))
        good = add_line(t, "Content-Type", body ? "application/json" : "application/octet-stream");
    if (good && t->call->name)
        good = add_line(t, "X-Request-Id", t->call->name);
    if (good && t->client->key) {
        if (!is_good_key(t->client->key))
            return pn_fail(err, PANTRY_INVALID, "PANTRY_API_KEY: not an API key (allowed at most %d printable letters)",
                           MAX_KEY);
        snprintf(bearer, sizeof bearer, "Bearer %s", t->client->key);
        good = add_line(t, "Authorization", bearer);
    }
    if (!good)
        return pn_no_memory(err, "a call of the service");
    snprintf(url, sizeof url, "%s%s", t->client->url, t->call->path);
    set_up(t, url);
    *code = perform(t);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
    return PANTRY_OK;
}

static void transfer_free(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->lines);
    pn_ndjson_free(&t->reader);
    pn_buf_free(&t->whole);
    free(t->sent);
}

/* ---- calls ---- */

/* Lines of a stream go on to the caller's sink, except for the one that says what went wrong. */
struct taking {
    struct pn_call *call;
    pantry_status status;
    struct pantry_error *err;
};

static const char *error_of(const json_t *object)
{
    const json_t *error = json_object_get(object, "error");
    const char *text = json_string_value(json_object_get(error, "message"));
    return text ? text : json_string_value(error);
}

static bool take_object(void *user, json_t *object)
{
    struct taking *taking = user;
    const char *error = error_of(object);
    if (error) {
        taking->status = pn_fail(taking->err, PANTRY_IO, "%s", error);
        return false;
    }
    return taking->call->sink ? taking->call->sink(taking->call->user, object) : true;
}

static pantry_status refusal(const struct transfer *t, struct pantry_error *err)
{
    json_t *object = t->whole.len ? json_loadb(t->whole.data, t->whole.len, 0, NULL) : NULL;
    const char *text = error_of(object);
    pantry_status status = t->status == 404 ? PANTRY_NOT_FOUND : t->status / 100 == 4 ? PANTRY_INVALID : PANTRY_IO;
    if (text)
        pn_fail(err, status, "%s", text);
    else
        pn_fail(err, status, "%s: status %ld", t->client->url, t->status);
    json_decref(object);
    return status;
}

static pantry_status broken(const struct transfer *t, CURLcode code, struct pantry_error *err)
{
    if (t->whole.over_limit)
        return pn_fail(err, PANTRY_LIMIT, "%s: the reply is longer than %zu bytes", t->client->url, t->whole.limit);
    if (t->status)
        return pn_fail(err, PANTRY_IO, "%s: the service ended the connection before the answer was complete",
                       t->client->url);
    return pn_fail(err, PANTRY_IO, "%s: %s", t->client->url, *t->why ? t->why : curl_easy_strerror(code));
}

pantry_status pn_client_call(const struct pn_client *client, struct pn_call *call, struct pantry_error *err)
{
    struct taking taking = {call, PANTRY_OK, err};
    struct transfer t = {.client = client, .call = call, .whole = {.limit = MAX_REPLY}};
    CURLcode code = CURLE_OK;
    pn_ndjson_start(&t.reader, take_object, &taking);
    pantry_status status = transfer(&t, &code, err);
    call->status = t.status;
    if (!status && is_cancelled(&t))
        status = pn_fail(err, PANTRY_CANCELLED, "stopped");
    else if (!status && (t.bad || taking.status))
        status = t.bad ? t.bad : taking.status;
    else if (!status && code != CURLE_OK && !t.reader.unwanted)
        status = broken(&t, code, err);
    else if (!status && t.status / 100 != 2)
        status = refusal(&t, err);
    else if (!status && t.whole.len) /* a reply that is not a stream: one object, perhaps over several lines */
        for (size_t i = 0; i < t.whole.len; i++)
            if (t.whole.data[i] == '\n')
                t.whole.data[i] = ' ';
    if (!status && !t.lined)
        status = pn_ndjson_push(&t.reader, t.whole.data, t.whole.len, err);
    if (!status)
        status = pn_ndjson_finish(&t.reader, err);
    transfer_free(&t);
    return status ? status : taking.status;
}

pantry_status pn_client_text(const struct pn_client *client, const char *path, long milliseconds,
                             const pantry_cancel *cancel, char **text, long *http_status, struct pantry_error *err)
{
    const struct pn_call call = {.method = "GET", .path = path, .cancel = cancel};
    struct transfer t = {.client = client, .call = &call, .milliseconds = milliseconds, .whole = {.limit = MAX_REPLY}};
    CURLcode code = CURLE_OK;
    *text = NULL;
    pantry_status status = transfer(&t, &code, err);
    *http_status = t.status;
    if (!status && code != CURLE_OK)
        status = broken(&t, code, err);
    else if (!status && t.status / 100 != 2)
        status = refusal(&t, err);
    else if (!status && !(*text = t.whole.data ? pn_buf_take(&t.whole) : strdup("")))
        status = pn_no_memory(err, path);
    transfer_free(&t);
    return status;
}

static bool keep_object(void *user, json_t *object)
{
    json_t **reply = user;
    *reply = json_incref(object);
    return false;
}

pantry_status pn_client_ask(const struct pn_client *client, const char *method, const char *path, json_t *body,
                            json_t **reply, long *http_status, struct pantry_error *err)
{
    struct pn_call call = {.method = method,
                           .path = path,
                           .body = body,
                           .sink = keep_object,
                           .user = reply,
                           .cancel = pn_term_interrupt()};
    *reply = NULL;
    pantry_status status = pn_client_call(client, &call, err);
    json_decref(body);
    *http_status = call.status;
    if (!status && !*reply)
        status = pn_fail(err, PANTRY_FORMAT, "%s%s: the reply is empty", client->url, path);
    return status;
}

int pn_client_advise(const struct pn_client *client, long http_status)
{
    if (http_status == 401)
        fprintf(stderr, "%s wants a key: set PANTRY_API_KEY to one that `pantry key add NAME` made there.\n",
                client->url);
    if (http_status == 403)
        fprintf(stderr,
                "%s refuses this: `pantry key add NAME --scope manage` makes a key there that may change its "
                "models, for PANTRY_API_KEY.\n",
                client->url);
    return PN_EXIT_FAILED;
}

int pn_client_fail(const struct pn_client *client, long http_status, const struct pantry_error *err)
{
    pn_cli_fail(err);
    return pn_client_advise(client, http_status);
}

/* ---- finding ---- */

/* Asks without the key: nobody knows yet who answers. *pantry: it says that it is pantry. */
static bool answers(const struct pn_client *client, bool *pantry, struct pantry_error *err)
{
    static const char wanted[] = "pantry is running";
    struct pn_client stranger = *client;
    stranger.key = NULL;
    const struct pn_call call = {.method = "GET", .path = "/"};
    struct transfer t = {.client = &stranger,
                         .call = &call,
                         .milliseconds = client->local ? NEAR_MS : FAR_MS,
                         .whole = {.limit = MAX_ERROR}};
    CURLcode code = CURLE_OK;
    pantry_status status = transfer(&t, &code, err);
    if (!status && code != CURLE_OK)
        status = broken(&t, code, err);
    if (!status && t.status / 100 != 2)
        status = pn_fail(err, PANTRY_IO, "%s: no service answers there (status %ld)", client->url, t.status);
    *pantry = !status && t.whole.len >= sizeof wanted - 1 && memcmp(t.whole.data, wanted, sizeof wanted - 1) == 0;
    transfer_free(&t);
    return status == PANTRY_OK;
}

enum pn_presence pn_client_find(struct pn_client *client, struct pantry_error *err)
{
    const char *ours = pn_cli_variable("PANTRY_HOST", "PANTRY_HOST");
    const char *text = pn_cli_variable("PANTRY_HOST", "OLLAMA_HOST"), *key = getenv("PANTRY_API_KEY");
    *client = (struct pn_client){.key = key && *key ? key : NULL, .given = ours != NULL};
    if (!pn_cli_service_url(text, client->url, &client->local)) {
        pn_fail(err, PANTRY_INVALID, "%s: wrong address (found \"%.200s\", allowed ADDRESS, ADDRESS:PORT or a URL)",
                ours ? "PANTRY_HOST" : "OLLAMA_HOST", text);
        return PN_SERVICE_BROKEN;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        pn_fail(err, PANTRY_INTERNAL, "libcurl cannot be used");
        return PN_SERVICE_BROKEN;
    }
    if (!answers(client, &client->pantry, err))
        return client->given && !client->local ? PN_SERVICE_BROKEN : PN_SERVICE_ABSENT;
    return client->pantry || client->given ? PN_SERVICE_RUNS : PN_SERVICE_ABSENT;
}

int pn_client_elsewhere(struct pn_client *client, bool *elsewhere)
{
    struct pantry_error err = {0};
    const char *text = pn_cli_variable("PANTRY_HOST", "OLLAMA_HOST");
    char url[PN_URL_MAX];
    bool local;
    *elsewhere = false;
    if (!text || strncmp(text, "unix:", 5) == 0 || (pn_cli_service_url(text, url, &local) && local))
        return PN_CLI_GO_ON;
    enum pn_presence presence = pn_client_find(client, &err);
    *elsewhere = presence == PN_SERVICE_RUNS;
    return presence == PN_SERVICE_BROKEN ? pn_cli_fail(&err) : PN_CLI_GO_ON;
}

int pn_client_need(struct pn_client *client)
{
    struct pantry_error err = {0};
    switch (pn_client_find(client, &err)) {
    case PN_SERVICE_RUNS:
        return PN_CLI_GO_ON;
    case PN_SERVICE_ABSENT:
        pn_cli_say_error("no service runs at %s: `%s serve` starts one, PANTRY_HOST names another", client->url,
                         pn_cli_program());
        return PN_EXIT_FAILED;
    case PN_SERVICE_BROKEN:
        break;
    }
    return pn_cli_fail(&err);
}
