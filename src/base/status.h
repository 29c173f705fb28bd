/* Status codes and error text.
 *
 * Every fallible function returns a pantry_status (0 is success, all others are negative) and takes a `struct
 * pantry_error *` last. The error may be NULL when the caller does not want the sentence. A sentence names the file,
 * the field, what was found and what is allowed. */
#ifndef PN_BASE_STATUS_H
#define PN_BASE_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "pantry.h"

/* Records a printf-style sentence in `err` (may be NULL) and returns `status`, so that failing is one line:
 * `return pn_fail(err, PANTRY_FORMAT, "%s: ...", path);` Text that does not fit is cut at a UTF-8 boundary. */
pantry_status pn_fail(struct pantry_error *err, pantry_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
pantry_status pn_vfail(struct pantry_error *err, pantry_status status, const char *format, va_list args);

/* Puts "prefix: " before the sentence that is already in `err`; returns err's status. */
pantry_status pn_fail_prefix(struct pantry_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Shorthand for the one sentence that needs no detail. */
pantry_status pn_no_memory(struct pantry_error *err, const char *what);

/* A number with thousands separators, for sentences: `pn_fail(err, PANTRY_FORMAT, "%s bytes", pn_digits(n).text)`. */
struct pn_digits {
    char text[28];
};
struct pn_digits pn_digits(uint64_t n);

#endif
