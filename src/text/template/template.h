/* Chat templates: the Jinja of Hugging Face models, and the Go templates of Ollama's (go/go.h), told apart by their
 * tags.
 *
 * A template is parsed once and may then be rendered by any number of threads at the same time. Results equal Python's
 * jinja2 in an ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop controls, `generation` tags and
 * Hugging Face's `tojson`, `raise_exception` and `strftime_now`. Steps, output, memory and depth of a template are
 * bounded. */
#ifndef PN_TEXT_TEMPLATE_TEMPLATE_H
#define PN_TEXT_TEMPLATE_TEMPLATE_H

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct pn_template;

struct pn_template_limits {
    size_t max_steps;  /* evaluated nodes, iterations and bytes worked on; 0: 20 million */
    size_t max_output; /* bytes of the result; 0: 64 MiB. Working memory may reach four times that, plus 64 MiB */
    size_t max_depth;  /* nested macro calls, recursive loops and values; 0: 200 */
    int64_t now;       /* the time of strftime_now: seconds since 1970 of the local wall clock; 0: the current time */
};

/* Parses `len` bytes of UTF-8. Errors in a template are PANTRY_FORMAT: "template:LINE: " and jinja2's message. */
pantry_status pn_template_parse(const char *source, size_t len, struct pn_template **out, struct pantry_error *err);

/* Renders `context` (a JSON object; its members are the variables and hide the global functions of the same name). The
 * caller frees *out, which is NUL-terminated. raise_exception(m) is PANTRY_RAISED with the text m; any other exception
 * of the template is PANTRY_INVALID with the text that Python would print ("TypeError: ..."); exceeding a limit is
 * PANTRY_LIMIT, "budget exceeded: ...". `limits`, `out_len` and `err` may be NULL. */
pantry_status pn_template_render(const struct pn_template *t, const json_t *context,
                                 const struct pn_template_limits *limits, char **out, size_t *out_len,
                                 struct pantry_error *err);

void pn_template_free(struct pn_template *t);

#endif
