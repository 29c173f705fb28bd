/* Expectations of the GGUF reader's tests: success, or an error with a certain text. Included after cmocka. */
#ifndef PN_TESTS_EXPECT_GGUF_H
#define PN_TESTS_EXPECT_GGUF_H

#include "format/weights.h"
#include "gguf_writer.h"

#include <string.h>

static inline struct pn_weights *expect_open(const char *path)
{
    struct pantry_error err = {.text = ""};
    struct pn_weights *w = NULL;
    if (pn_weights_open(path, &w, &err))
        fail_msg("should open, but: %s", err.text);
    return w;
}

/* Both open and inspect refuse it, or only open if so asked; the error contains `part`. */
static inline void expect_refused(const char *path, pantry_status status, const char *part)
{
    struct pantry_error err = {.text = ""};
    struct pn_weights *w = (struct pn_weights *)&err;
    pantry_status got = pn_weights_open(path, &w, &err);
    if (got != status || !strstr(err.text, part))
        fail_msg("expected %d with \"%s\", got %d: %s", status, part, got, err.text);
    assert_null(w);
    assert_int_equal(err.status, status);
    assert_int_equal(pn_weights_open(path, &w, NULL), status); /* without an error struct */
}

/* The file of `g`, which is freed. */
static inline void expect_gw_refused(struct gw *g, pantry_status status, const char *part)
{
    expect_refused(gw_file(g, "refused.gguf"), status, part);
    gw_free(g);
}

static inline void expect_gw_opens(struct gw *g)
{
    pn_weights_close(expect_open(gw_file(g, "opens.gguf")));
    gw_free(g);
}

/* Two tensors and some metadata: the start of most tests. */
static inline void small_gguf(struct gw *g)
{
    static const float data[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    gw_init(g);
    gw_str(g, "general.architecture", "llama");
    gw_u32(g, "llama.block_count", 1);
    gw_floats(g, "a.weight", GW_F32, 2, (const int64_t[]){3, 4}, data);
    gw_floats(g, "b.weight", GW_F16, 1, (const int64_t[]){5}, data);
}

#endif
