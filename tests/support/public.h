/* Calls of the public interface that must succeed: an error ends the test with its text. */
#ifndef PN_TESTS_PUBLIC_H
#define PN_TESTS_PUBLIC_H

#include "pantry.h"

/* A model on the reference device. */
pantry_model *load_on_ref(const char *path);
pantry_request *submit(pantry_model *model, const struct pantry_request_options *options);

enum { MAX_ANSWER = 200 };

struct answer {
    int32_t ids[MAX_ANSWER];
    int n;
    struct pantry_event end;
    struct pantry_stats stats; /* a copy: the event's own are freed with the request */
};

/* Copies the next event to a->end. */
void next_event(pantry_request *request, struct answer *a, int timeout_ms);
/* Reads tokens up to the end, which must be without error. */
void read_all(pantry_request *request, struct answer *a);
/* Submits, reads all and frees the request. */
void run_request(pantry_model *model, const struct pantry_request_options *options, struct answer *a);

struct pantry_input of_text(const char *text);
struct pantry_embeddings embed(pantry_model *model, const struct pantry_input *inputs, size_t n,
                               const struct pantry_embed_options *options);

#endif
