/* Reads a stream of JSON values, one per line, as it arrives. What comes is not trusted: lines are bounded. */
#ifndef PN_CLI_NDJSON_H
#define PN_CLI_NDJSON_H

#include "base/alloc.h"
#include "pantry.h"

#include <jansson.h>

enum { PN_NDJSON_LINE_MAX = 16 << 20 }; /* bytes */

/* Takes an object, which it may keep a reference to. False: no more are wanted. */
typedef bool pn_ndjson_sink(void *user, json_t *object);

struct pn_ndjson {
    pn_ndjson_sink *sink;
    void *user;
    struct pn_buf line; /* the line that has begun */
    bool unwanted;      /* the sink returned false; what follows is ignored */
};

void pn_ndjson_start(struct pn_ndjson *reader, pn_ndjson_sink *sink, void *user);
/* Takes the next bytes. PANTRY_FORMAT: a line is not a JSON object; PANTRY_LIMIT: it is too long. */
pantry_status pn_ndjson_push(struct pn_ndjson *reader, const char *bytes, size_t n, struct pantry_error *err);
/* The stream has ended: the last line may lack its newline. */
pantry_status pn_ndjson_finish(struct pn_ndjson *reader, struct pantry_error *err);
void pn_ndjson_free(struct pn_ndjson *reader);

#endif
