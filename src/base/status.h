/* Status codes and error text.
 *
 * Every fallible function returns a pantry_status (0 is success, all others are negative) and takes a `struct
 * pantry_error *` last. The error may be NULL. Its text is a sentence of the form "file: what is wrong (found X,
 * allowed Y)", then what to do. */
#ifndef PN_BASE_STATUS_H
#define PN_BASE_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "pantry.h"

/* Writes a printf-style message to `err` (may be NULL) and returns `status`, so that failing takes one line: `return
 * pn_fail(err, PANTRY_FORMAT, "%s: ...", path);` Long text is cut at a UTF-8 boundary. */
pantry_status pn_fail(struct pantry_error *err, pantry_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
pantry_status pn_vfail(struct pantry_error *err, pantry_status status, const char *format, va_list args);

/* Prepends "prefix: " to the message in `err`; returns its status. */
pantry_status pn_fail_prefix(struct pantry_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Fails with "out of memory for WHAT". */
pantry_status pn_no_memory(struct pantry_error *err, const char *what);

/* A number with thousands separators, for messages: `pn_fail(err, PANTRY_FORMAT, "%s bytes", pn_digits(n).text)`. */
struct pn_digits {
    char text[28];
};
struct pn_digits pn_digits(uint64_t n);

#endif
