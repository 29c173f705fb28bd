/* Splits a model's answer, while it streams, into reasoning, content and tool calls.
 *
 * A dialect is how one family of models marks these parts; it is detected from the text of the chat template. Text that
 * cannot be parsed is returned as content, never as an error and never lost. A tool call is reported once, complete,
 * when its arguments are valid JSON; a call that was cut off is content. Any split of the stream into chunks gives the
 * same concatenated text and the same calls. Time is linear in the input, the stack is flat, and no more than
 * PN_CALL_LIMIT bytes are held back. */
#ifndef PN_TEXT_DIALECT_DIALECT_H
#define PN_TEXT_DIALECT_DIALECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct pn_dialect;
struct pn_parser;

/* The dialect of a template's source. Never NULL: an unknown template is "plain" (a leading <think> block and text). */
const struct pn_dialect *pn_dialect_detect(const char *template_source, size_t len);
const char *pn_dialect_name(const struct pn_dialect *dialect);
/* By name, or NULL; the i-th of all, NULL after the last. */
const struct pn_dialect *pn_dialect_find(const char *name);
const struct pn_dialect *pn_dialect_at(size_t i);

/* The i-th pair of markers around the reasoning; false after the last. */
bool pn_dialect_reasoning(const struct pn_dialect *dialect, size_t i, const char **open, const char **close);

enum pn_tool_choice { PN_TOOL_AUTO, PN_TOOL_REQUIRED, PN_TOOL_NONE };

struct pn_parse_options {
    const char *prompt; /* the rendered prompt, or its end: shows whether the answer starts in the reasoning */
    size_t prompt_len;
    bool reasoning_in_content; /* reasoning stays in the content, with its markers */
    enum pn_tool_choice tool_choice;
    const json_t
        *tools; /* as given to the template; without tools nothing is parsed as a call. Referenced, not copied */
    /* The answer continues an assistant message: these are its parts so far, and they are reported first. Set
     * `continues` to use them; NULL content means that the reasoning continues. */
    bool continues;
    const char *continued_reasoning;
    const char *continued_content;
};

enum pn_parse_event_type { PN_EVENT_REASONING, PN_EVENT_CONTENT, PN_EVENT_TOOL_CALL };

struct pn_parse_event {
    enum pn_parse_event_type type;
    const char *text; /* reasoning, content: the next `len` bytes (may end inside a UTF-8 sequence if a chunk did) */
    size_t len;
    const char *name;      /* tool call: NUL-terminated */
    const char *arguments; /* tool call: one JSON value, NUL-terminated */
    const char *id;        /* tool call: the id that the model wrote, or NULL */
};

typedef void pn_parse_fn(void *user, const struct pn_parse_event *event);

/* NULL when memory is out. `dialect` and `options->tools` must outlive the parser; the other options need not. */
struct pn_parser *pn_parser_new(const struct pn_dialect *dialect, const struct pn_parse_options *options,
                                pn_parse_fn *fn, void *user);
/* Takes the next `len` bytes of the answer. Fails only when memory is out. */
pantry_status pn_parser_push(struct pn_parser *parser, const char *text, size_t len, struct pantry_error *err);
/* Ends the stream: reports text that was held back. */
pantry_status pn_parser_finish(struct pn_parser *parser, struct pantry_error *err);
void pn_parser_free(struct pn_parser *parser);

/* The longest text of one call, or candidate for one, that is held back before it becomes content. */
#define PN_CALL_LIMIT ((size_t)16 << 20)

/* A parser for the answer to `prompt`, which was rendered from `context` (messages, tools, add_generation_prompt,
 * flags); `prompt`, `tools` and the continuation in `options` are replaced by what it says. `context` must outlive it.
 * Texts are reported in whole characters; a byte that is not UTF-8 becomes U+FFFD. */
struct pn_answer;
pantry_status pn_answer_new(const char *template_source, size_t template_len, const json_t *context, const char *prompt,
                            size_t prompt_len, const struct pn_parse_options *options, pn_parse_fn *fn, void *user,
                            struct pn_answer **out, struct pantry_error *err);
pantry_status pn_answer_push(struct pn_answer *answer, const char *text, size_t len, struct pantry_error *err);
pantry_status pn_answer_finish(struct pn_answer *answer, struct pantry_error *err);
void pn_answer_free(struct pn_answer *answer);

/* Splits a whole answer: {"content", "reasoning_content", "tool_calls": [{"name", "arguments"[, "id"]}]}. The
 * arguments are those of pn_answer_new. */
pantry_status pn_parse_rendered(const char *template_source, size_t template_len, const json_t *context,
                                const char *prompt, size_t prompt_len, const char *raw, size_t raw_len,
                                const struct pn_parse_options *options, json_t **out, struct pantry_error *err);

/* The same, with the prompt that the template renders from the context. If the template cannot be rendered, the start
 * is guessed from the answer. */
pantry_status pn_parse_all(const char *template_source, size_t template_len, const json_t *context, const char *raw,
                           size_t raw_len, const struct pn_parse_options *options, json_t **out,
                           struct pantry_error *err);

#endif
