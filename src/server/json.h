/* JSON in requests and replies. */
#ifndef PN_SERVER_JSON_H
#define PN_SERVER_JSON_H

#include "pantry.h"

#include <jansson.h>

/* A JSON string of a text that may not be UTF-8: what is not becomes U+FFFD. */
json_t *pn_json_text(const char *text, size_t len);

/* Fields of a request, which may be missing or null: *out is as it was then. PANTRY_INVALID: another type, or a number
 * out of range; the sentence names the field. */
pantry_status pn_json_bool(const json_t *object, const char *name, bool *out, struct pantry_error *err);
pantry_status pn_json_int(const json_t *object, const char *name, int least, int most, int *out,
                          struct pantry_error *err);
pantry_status pn_json_seed(const json_t *object, const char *name, uint64_t *out, struct pantry_error *err);
pantry_status pn_json_float(const json_t *object, const char *name, double least, double most, float *out,
                            struct pantry_error *err);
/* Borrowed from the object. */
pantry_status pn_json_string(const json_t *object, const char *name, const char **out, struct pantry_error *err);
/* A string or a list of strings, at most `most`; their number is *n. */
pantry_status pn_json_strings(const json_t *object, const char *name, size_t most, const char **out, size_t *n,
                              struct pantry_error *err);
/* An array (an object) or NULL, borrowed. */
pantry_status pn_json_array(const json_t *object, const char *name, json_t **out, struct pantry_error *err);
pantry_status pn_json_object(const json_t *object, const char *name, json_t **out, struct pantry_error *err);
/* PANTRY_UNSUPPORTED where one of these fields (up to NULL) is there and neither null, false, 0 nor empty. */
pantry_status pn_json_refuse(const json_t *object, const char *const *names, struct pantry_error *err);

#endif
