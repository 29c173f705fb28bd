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

#include "pantry.h"

/* The library has one status and one error, those of its callers. */
typedef pantry_status pn_status;
#define pn_error        pantry_error
#define PN_OK           PANTRY_OK
#define PN_INVALID      PANTRY_INVALID
#define PN_FORMAT       PANTRY_FORMAT
#define PN_UNSUPPORTED  PANTRY_UNSUPPORTED
#define PN_NOT_FOUND    PANTRY_NOT_FOUND
#define PN_IO           PANTRY_IO
#define PN_NO_MEMORY    PANTRY_NO_MEMORY
#define PN_LIMIT        PANTRY_LIMIT
#define PN_CANCELLED    PANTRY_CANCELLED
#define PN_CONTEXT_FULL PANTRY_CONTEXT_FULL
#define PN_RAISED       PANTRY_RAISED
#define PN_INTERNAL     PANTRY_INTERNAL

/* Records a printf-style sentence in `err` (may be NULL) and returns `status`, so that failing is one line:
 * `return pn_fail(err, PN_FORMAT, "%s: ...", path);` Text that does not fit is cut at a UTF-8 boundary. */
pn_status pn_fail(struct pn_error *err, pn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
pn_status pn_vfail(struct pn_error *err, pn_status status, const char *format, va_list args);

/* Puts "prefix: " before the sentence that is already in `err`; returns err's status. */
pn_status pn_fail_prefix(struct pn_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Shorthand for the one sentence that needs no detail. */
pn_status pn_no_memory(struct pn_error *err, const char *what);

/* A number with thousands separators, for sentences: `pn_fail(err, PN_FORMAT, "%s bytes", pn_digits(n).text)`. */
struct pn_digits {
    char text[28];
};
struct pn_digits pn_digits(uint64_t n);

#endif
