/* Status codes and error text.
 *
 * Every fallible function returns a pn_status (0 is success, all others are negative) and takes a `struct pn_error *`
 * last. The error may be NULL when the caller does not want the sentence. A sentence names the file, the field, what
 * was found and what is allowed. */
#ifndef PN_BASE_STATUS_H
#define PN_BASE_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* name, code, short text. The codes are part of the public ABI (pantry.h repeats them, a test compares). */
#define PN_STATUS_LIST(X)                                                                                              \
    X(OK, 0, "success")                                                                                                \
    X(INVALID, -1, "invalid argument")                                                                                 \
    X(FORMAT, -2, "malformed input")                                                                                   \
    X(UNSUPPORTED, -3, "not supported")                                                                                \
    X(NOT_FOUND, -4, "not found")                                                                                      \
    X(IO, -5, "input/output error")                                                                                    \
    X(NO_MEMORY, -6, "out of memory")                                                                                  \
    X(LIMIT, -7, "limit exceeded")                                                                                     \
    X(CANCELLED, -8, "cancelled")                                                                                      \
    X(CONTEXT_FULL, -9, "context full")                                                                                \
    X(RAISED, -10, "raised by the template")                                                                           \
    X(INTERNAL, -11, "internal error")

typedef enum pn_status {
#define PN_X(name, code, text) PN_##name = (code),
    PN_STATUS_LIST(PN_X)
#undef PN_X
} pn_status;

struct pn_error {
    pn_status status;
    char text[1024];
};

/* Records a printf-style sentence in `err` (may be NULL) and returns `status`, so that failing is one line:
 * `return pn_fail(err, PN_FORMAT, "%s: ...", path);` Text that does not fit is cut at a UTF-8 boundary. */
pn_status pn_fail(struct pn_error *err, pn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
pn_status pn_vfail(struct pn_error *err, pn_status status, const char *format, va_list args);

/* Puts "prefix: " before the sentence that is already in `err`; returns err's status. */
pn_status pn_fail_prefix(struct pn_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Shorthand for the one sentence that needs no detail. */
pn_status pn_no_memory(struct pn_error *err, const char *what);

const char *pn_status_text(pn_status status);

/* A number with thousands separators, for sentences: `pn_fail(err, PN_FORMAT, "%s bytes", pn_digits(n).text)`. */
struct pn_digits {
    char text[28];
};
struct pn_digits pn_digits(uint64_t n);

#endif
