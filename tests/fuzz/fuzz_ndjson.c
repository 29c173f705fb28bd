/* Fuzzes the reader of JSON lines: the objects do not depend on how the bytes are cut into pieces. */
#include "cli/ndjson.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct pn_buf text;
};

static bool keep(void *user, json_t *object)
{
    struct seen *seen = user;
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (!json_is_object(object) || !text)
        abort();
    pn_buf_puts(&seen->text, text);
    pn_buf_putc(&seen->text, '\n');
    free(text);
    return true;
}

/* Up to the first bad line. */
static pantry_status read_all(const char *bytes, size_t n, size_t piece, struct seen *seen)
{
    struct pn_ndjson reader;
    struct pantry_error err;
    pantry_status status = PANTRY_OK;
    pn_ndjson_start(&reader, keep, seen);
    while (n && !status) {
        size_t part = n < piece ? n : piece;
        status = pn_ndjson_push(&reader, bytes, part, &err);
        bytes += part;
        n -= part;
    }
    if (!status)
        status = pn_ndjson_finish(&reader, &err);
    pn_ndjson_free(&reader);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0}, pieces = {0};
    char *exact = malloc(size ? size : 1); /* of exactly this size */
    if (size)
        memcpy(exact, data, size);
    pantry_status a = read_all(exact, size, size ? size : 1, &whole), b = read_all(exact, size, 3, &pieces);
    if (a != b || whole.text.len != pieces.text.len ||
        (whole.text.len && memcmp(whole.text.data, pieces.text.data, whole.text.len) != 0))
        abort();
    pn_buf_free(&whole.text);
    pn_buf_free(&pieces.text);
    free(exact);
    return 0;
}
