/* Replies: see reply.h. */
#define _POSIX_C_SOURCE 200809L
#include "server/reply.h"

#include "base/alloc.h"
#include "server/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void pn_time_text(char out[40], double unix_time)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    if (unix_time > 0) {
        now.tv_sec = (time_t)unix_time;
        now.tv_nsec = (long)((unix_time - (double)now.tv_sec) * 1e9);
    }
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%06ldZ", now.tv_nsec / 1000);
}

void pn_reply_json(struct pn_exchange *x, int status, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    json_decref(value);
    if (text)
        pn_http_send(x, status, "application/json; charset=utf-8", text, strlen(text));
    free(text);
}

int pn_http_status_of(pantry_status status)
{
    switch (status) {
    case PANTRY_OK:
        return 200;
    case PANTRY_NOT_FOUND:
        return 404;
    case PANTRY_INVALID:
    case PANTRY_UNSUPPORTED:
    case PANTRY_CONTEXT_FULL:
    case PANTRY_RAISED:
        return 400;
    case PANTRY_NO_MEMORY:
        return 503;
    case PANTRY_FORMAT:
    case PANTRY_IO:
    case PANTRY_LIMIT:
    case PANTRY_CANCELLED:
    case PANTRY_INTERNAL:
        break;
    }
    return 500;
}

/* OpenAI's and Anthropic's name of an HTTP status. */
static const char *error_type(int status)
{
    return status == 401                    ? "authentication_error"
           : status == 403                  ? "permission_error"
           : status == 404                  ? "not_found_error"
           : status < 500                   ? "invalid_request_error"
           : status == 503 || status == 529 ? "overloaded_error"
                                            : "api_error";
}

int pn_error_status(enum pn_error_style style, int status)
{
    return style == PN_ERRORS_ANTHROPIC && status == 503 ? 529 : status;
}

static char hidden[1024];

void pn_reply_hide(const char *folder)
{
    snprintf(hidden, sizeof hidden, "%s", strlen(folder) < sizeof hidden ? folder : "");
}

/* Where the files are is nobody's business but the log's. */
json_t *pn_error_message(const char *text)
{
    struct pn_buf out = {0};
    size_t n = strlen(hidden);
    for (const char *at; n && (at = strstr(text, hidden));) {
        const char *name = at + n, *end = name + strcspn(name, " :,;()\"'\n");
        for (const char *c = name; c < end; c++)
            name = *c == '/' ? c + 1 : name;
        pn_buf_append(&out, text, (size_t)(at - text));
        text = name;
    }
    pn_buf_puts(&out, text);
    json_t *message = pn_json_text(out.data ? out.data : "", out.len);
    pn_buf_free(&out);
    return message;
}

json_t *pn_error_json(enum pn_error_style style, int status, const char *text)
{
    json_t *message = pn_error_message(text);
    switch (style) {
    case PN_ERRORS_OPENAI:
        return json_pack("{s:{s:o, s:s, s:n, s:n}}", "error", "message", message, "type",
                         status == 404 ? "invalid_request_error" : error_type(status), "param", "code");
    case PN_ERRORS_ANTHROPIC:
        return json_pack("{s:s, s:{s:s, s:o}}", "type", "error", "error", "type",
                         status == 413 ? "request_too_large" : error_type(status), "message", message);
    case PN_ERRORS_OLLAMA:
        break;
    }
    return json_pack("{s:o}", "error", message);
}

void pn_reply_error(struct pn_exchange *x, enum pn_error_style style, const struct pantry_error *err)
{
    int status = pn_http_status_of(err->status);
    if (status == 503)
        pn_http_set_header(x, "Retry-After", "5");
    pn_reply_json(x, pn_error_status(style, status), pn_error_json(style, status, err->text));
}

bool pn_write_line(struct pn_exchange *x, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    bool open = text && pn_http_write(x, text, strlen(text)) && pn_http_write(x, "\n", 1);
    json_decref(value);
    free(text);
    return open;
}

bool pn_write_event(struct pn_exchange *x, const char *name, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    struct pn_buf out = {0};
    if (name)
        pn_buf_printf(&out, "event: %s\n", name);
    pn_buf_printf(&out, "data: %s\n\n", text ? text : "null");
    bool open = text && !out.failed && pn_http_write(x, out.data, out.len);
    pn_buf_free(&out);
    json_decref(value);
    free(text);
    return open;
}
