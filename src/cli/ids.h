/* Lists of token ids as text. */
#ifndef PN_CLI_IDS_H
#define PN_CLI_IDS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Parses ids separated by spaces, newlines or commas; brackets are allowed, so a JSON list is valid. Reports errors in
 * the file `name`; returns an exit status. Caller frees *ids. */
int pn_ids_parse(const char *name, const char *text, size_t len, int32_t **ids, size_t *n);
/* NULL without memory. */
json_t *pn_ids_json(const int32_t *ids, size_t n);

#endif
