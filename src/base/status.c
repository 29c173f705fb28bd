/* Status codes and error text: see status.h. */
#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Removes a UTF-8 sequence that was cut in half at the end of a full buffer. */
static void trim_partial_utf8(char *text)
{
    size_t n = strlen(text), back = 0;
    while (back < 3 && ((unsigned char)text[n - 1 - back] & 0xC0) == 0x80)
        back++;
    unsigned char lead = (unsigned char)text[n - 1 - back];
    size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (lead >= 0xC0 && back < want)
        text[n - 1 - back] = '\0';
}

pantry_status pn_vfail(struct pantry_error *err, pantry_status status, const char *format, va_list args)
{
    if (err) {
        err->status = status;
        int n = vsnprintf(err->text, sizeof err->text, format, args);
        if (n >= (int)sizeof err->text)
            trim_partial_utf8(err->text);
    }
    return status;
}

pantry_status pn_fail(struct pantry_error *err, pantry_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pn_vfail(err, status, format, args);
    va_end(args);
    return status;
}

pantry_status pn_fail_prefix(struct pantry_error *err, const char *format, ...)
{
    if (!err)
        return PANTRY_INTERNAL;
    char prefix[512], joined[sizeof err->text];
    va_list args;
    va_start(args, format);
    if (vsnprintf(prefix, sizeof prefix, format, args) >= (int)sizeof prefix)
        trim_partial_utf8(prefix);
    va_end(args);
    /* A message that is too long loses its end. */
    size_t n = strlen(prefix), room = sizeof joined - 1;
    memcpy(joined, prefix, n);
    if (n + 2 <= room) {
        memcpy(joined + n, ": ", 2);
        n += 2;
    }
    size_t m = strlen(err->text);
    bool cut = m > room - n;
    if (cut)
        m = room - n;
    memcpy(joined + n, err->text, m);
    joined[n + m] = '\0';
    if (cut)
        trim_partial_utf8(joined);
    memcpy(err->text, joined, n + m + 1);
    return err->status;
}

pantry_status pn_no_memory(struct pantry_error *err, const char *what)
{
    return pn_fail(err, PANTRY_NO_MEMORY, "out of memory for %s", what);
}

const char *pantry_status_text(pantry_status status)
{
    switch (status) {
    case PANTRY_OK:
        return "success";
    case PANTRY_INVALID:
        return "invalid argument";
    case PANTRY_FORMAT:
        return "malformed input";
    case PANTRY_UNSUPPORTED:
        return "not supported";
    case PANTRY_NOT_FOUND:
        return "not found";
    case PANTRY_IO:
        return "input/output error";
    case PANTRY_NO_MEMORY:
        return "out of memory";
    case PANTRY_LIMIT:
        return "limit exceeded";
    case PANTRY_CANCELLED:
        return "cancelled";
    case PANTRY_CONTEXT_FULL:
        return "context full";
    case PANTRY_RAISED:
        return "raised by the template";
    case PANTRY_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}

struct pn_digits pn_digits(uint64_t n)
{
    struct pn_digits d;
    char plain[24];
    int len = snprintf(plain, sizeof plain, "%ju", (uintmax_t)n);
    char *p = d.text;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *p++ = ',';
        *p++ = plain[i];
    }
    *p = '\0';
    return d;
}
