/* Parses a whole answer, given the template and the context of its prompt: the prompt's end shows whether the answer
 * begins inside the reasoning. */
#include "text/dialect/dialect.h"
#include "text/template/template.h"

#include <stdint.h>
#include <stdlib.h>

/* The prompt of `context`, or of a simpler one: without tools, with one user message instead of the conversation. NULL
 * if the template cannot be rendered. */
static char *render(const struct pn_template *template, const json_t *context, bool no_tools, bool one_message,
                    size_t *len)
{
    char *prompt = NULL;
    json_t *copy = json_copy((json_t *)(uintptr_t)context);
    *len = 0;
    if (!copy)
        return NULL;
    if (no_tools)
        json_object_del(copy, "tools");
    if (one_message)
        json_object_set_new(copy, "messages", json_pack("[{s:s, s:s}]", "role", "user", "content", "?"));
    if (pn_template_render(template, copy, NULL, &prompt, len, NULL) != PANTRY_OK)
        prompt = NULL;
    json_decref(copy);
    return prompt;
}

pantry_status pn_parse_all(const char *template_source, size_t template_len, const json_t *context, const char *raw,
                           size_t raw_len, const struct pn_parse_options *options, json_t **out,
                           struct pantry_error *err)
{
    struct pn_template *template = NULL;
    char *prompt = NULL;
    size_t prompt_len = 0;
    if (!json_is_object(context))
        return pn_fail(err, PANTRY_INVALID, "the context of an answer must be a JSON object");
    /* If the template does not render, a simpler prompt probably ends in the same way, and only the end matters. */
    if (pn_template_parse(template_source, template_len, &template, NULL) == PANTRY_OK)
        for (int simpler = 0; simpler < 4 && !prompt; simpler++)
            prompt = render(template, context, simpler & 1, simpler & 2, &prompt_len);
    pantry_status status = pn_parse_rendered(template_source, template_len, context, prompt ? prompt : "", prompt_len,
                                             raw, raw_len, options, out, err);
    free(prompt);
    pn_template_free(template);
    return status;
}
