/* JSON lines: see ndjson.h. */
#include "cli/ndjson.h"

#include "base/status.h"

#include <string.h>

void pn_ndjson_start(struct pn_ndjson *reader, pn_ndjson_sink *sink, void *user)
{
    *reader = (struct pn_ndjson){.sink = sink, .user = user, .line = {.limit = PN_NDJSON_LINE_MAX}};
}

static pantry_status take_line(struct pn_ndjson *reader, struct pantry_error *err)
{
    size_t n = reader->line.len;
    while (n && strchr(" \t\r", reader->line.data[n - 1]) && reader->line.data[n - 1])
        n--;
    if (!n || reader->unwanted)
        return PANTRY_OK;
    json_error_t why;
    json_t *object = json_loadb(reader->line.data, n, JSON_ALLOW_NUL, &why);
    if (!json_is_object(object)) {
        json_decref(object);
        return pn_fail(err, PANTRY_FORMAT, "the reply is not JSON (found \"%.60s\")", reader->line.data);
    }
    reader->unwanted = !reader->sink(reader->user, object);
    json_decref(object);
    return PANTRY_OK;
}

static pantry_status check(const struct pn_ndjson *reader, struct pantry_error *err)
{
    if (reader->line.over_limit)
        return pn_fail(err, PANTRY_LIMIT, "the reply has a line of more than %d bytes", PN_NDJSON_LINE_MAX);
    return reader->line.failed ? pn_no_memory(err, "a reply") : PANTRY_OK;
}

pantry_status pn_ndjson_push(struct pn_ndjson *reader, const char *bytes, size_t n, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    while (n && !status && !reader->unwanted) {
        const char *newline = memchr(bytes, '\n', n);
        size_t part = newline ? (size_t)(newline - bytes) : n;
        pn_buf_append(&reader->line, bytes, part);
        if ((status = check(reader, err)) || !newline)
            return status;
        status = take_line(reader, err);
        pn_buf_clear(&reader->line);
        bytes += part + 1;
        n -= part + 1;
    }
    return status;
}

pantry_status pn_ndjson_finish(struct pn_ndjson *reader, struct pantry_error *err)
{
    pantry_status status = take_line(reader, err);
    pn_buf_clear(&reader->line);
    return status;
}

void pn_ndjson_free(struct pn_ndjson *reader)
{
    pn_buf_free(&reader->line);
}
