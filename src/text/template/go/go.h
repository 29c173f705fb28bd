/* Ollama's chat templates: the language of Go's text/template, with the variables and functions that Ollama gives them.
 *
 * A template is parsed once and may be rendered by any number of threads at the same time. Nesting, steps and output
 * are bounded. Values are JSON: a field such as .ToolCalls reads the member "ToolCalls", or else "tool_calls". What has
 * no value prints nothing. define, template and block are not supported. */
#ifndef PN_TEXT_TEMPLATE_GO_GO_H
#define PN_TEXT_TEMPLATE_GO_GO_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct go_template;

/* Whether a template is in Go's language: it has a tag in "{{ }}" that only Go takes ("{{ .Name }}", "{{ if", "{{ range
 * .List }}"), and no "{%". */
bool pn_go_is_template(const char *source, size_t len);
/* PANTRY_FORMAT: "template:LINE: ..."; PANTRY_UNSUPPORTED: it uses a function that does not exist here. */
pantry_status pn_go_parse(const char *source, size_t len, struct go_template **out, struct pantry_error *err);
void pn_go_free(struct go_template *t);

/* Renders what a Jinja template would get ({"messages", "tools", "enable_thinking", "reasoning_effort"}) as Ollama
 * does. A template that shows .Messages is rendered once; another one once per turn with .System, .Prompt and
 * .Response, and for the last turn up to .Response. `now`: of currentDate, seconds since 1970 of the local wall clock;
 * 0: the current time. The caller frees *out. */
pantry_status pn_go_render(const struct go_template *t, const json_t *context, size_t max_steps, size_t max_output,
                           int64_t now, char **out, size_t *out_len, struct pantry_error *err);

#endif
