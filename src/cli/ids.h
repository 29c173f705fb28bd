/* Lists of token ids as text. */
#ifndef PN_CLI_IDS_H
#define PN_CLI_IDS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Ids separated by spaces, newlines or commas; brackets around them are fine, so a JSON list is too. Reports what is
 * wrong with `name` before it; exit status. Caller frees *ids. */
int pn_ids_parse(const char *name, const char *text, size_t len, int32_t **ids, size_t *n);
/* NULL when memory is out. */
json_t *pn_ids_json(const int32_t *ids, size_t n);

#endif
