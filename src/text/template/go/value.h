/* Values of Go's templates: JSON, as Go would compare and print it. */
#ifndef PN_TEXT_TEMPLATE_GO_VALUE_H
#define PN_TEXT_TEMPLATE_GO_VALUE_H

#include "base/alloc.h"

#include <jansson.h>
#include <stdbool.h>

/* What `if` takes as true: not false, 0, nil, or an empty text, list or object. */
bool pn_go_is_true(const json_t *v);
/* The member that a field reads; borrowed, NULL where there is none. */
json_t *pn_go_field(const json_t *v, const char *name);
/* <0, 0, >0; *ok is false where the two have no order. */
int pn_go_compare(const json_t *a, const json_t *b, bool *ok);
/* As encoding/json writes it. */
void pn_go_put_json(struct pn_buf *out, const json_t *v);
/* As {{ v }} prints it. */
void pn_go_put(struct pn_buf *out, const json_t *v);

#endif
