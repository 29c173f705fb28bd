/* How dialects write calls: see call_shape.h. */
#include "text/dialect/call_shape.h"

#include "text/dialect/dialect_impl.h"

#include <stdio.h>
#include <string.h>

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

/* START {"name": "NAME", "arguments": {...}} END, or a list of such objects between START and END. A marker that closes
 * is on a line of its own. */
static void json_shape(const struct pn_json_form *f, const char *arguments, struct pn_call_shape *out)
{
    bool tag = f->start && *f->start == '<' && f->end && strncmp(f->end, "</", 2) == 0;
    const char *line = tag ? "\n" : "", *name = f->name_key ? f->name_key : "name";
    const char *key = f->arguments_key ? f->arguments_key : arguments;
    out->name_in_json = true;
    out->trigger = or_empty(f->start);
    out->list = !f->single && !tag && f->start;
    char opening[96], closing[96];
    snprintf(opening, sizeof opening, "%s%s%s", or_empty(f->start), or_empty(f->prelude), line);
    snprintf(closing, sizeof closing, "%s%s%s", line, or_empty(f->postlude), or_empty(f->end));
    if (out->list) {
        snprintf(out->open, sizeof out->open, "%s[", opening);
        snprintf(out->close, sizeof out->close, "]%s", closing);
    }
    const char *begin = out->list ? "" : opening;
    if (f->name_is_key) {
        snprintf(out->before, sizeof out->before, "%s{\"", begin);
        snprintf(out->after, sizeof out->after, "\": ");
    } else {
        snprintf(out->before, sizeof out->before, "%s{\"%s\": \"", begin, name);
        snprintf(out->after, sizeof out->after, "\", \"%s\": ", key);
    }
    snprintf(out->end, sizeof out->end, "}%s", out->list ? "" : closing);
    out->between = f->single || !f->start ? NULL : out->list ? ", " : line;
}

static bool named_shape(const struct pn_named_form *f, struct pn_call_shape *out)
{
    const char *after = f->name_end[0];
    if (!f->start || !after)
        return false;
    if (f->id_first)
        snprintf(out->id_after, sizeof out->id_after, "%s", f->id_end);
    out->trigger = f->start;
    snprintf(out->before, sizeof out->before, "%s%s", f->start, or_empty(f->prefix));
    snprintf(out->after, sizeof out->after, "%s%s%s", f->colon_id ? ":0" : "", strcmp(after, "{") == 0 ? "" : after,
             "");
    snprintf(out->end, sizeof out->end, "%s", or_empty(f->end));
    out->between = f->colon_id ? NULL : "";
    return true;
}

/* The attribute that tells whether a value is a string. */
static const struct pn_type_words is_string = {"true", "false", "false", "false", "false", "false"};

static bool xml_shape(const struct pn_xml_form *f, struct pn_call_shape *out)
{
    bool lines = f->start && strchr(f->start, '<');
    const char *line = lines ? "\n" : "";
    if (!f->param || !f->value_end)
        return false;
    out->syntax = PN_ARGUMENTS_ELEMENTS;
    out->trigger = f->start ? f->start : or_empty(f->open);
    out->ends = f->value_end;
    out->avoid = f->cdata ? "<![CDATA[" : NULL;
    out->union_is_string = f->union_is_string;
    snprintf(out->before, sizeof out->before, "%s%s%s", or_empty(f->start), f->start && f->open ? line : "",
             or_empty(f->open));
    snprintf(out->after, sizeof out->after, "%s%s%s", or_empty(f->name_end), or_empty(f->open_end), line);
    snprintf(out->key_before, sizeof out->key_before, "%s", f->param);
    if (f->string_attribute) {
        out->types = &is_string;
        snprintf(out->key_after, sizeof out->key_after, "%s string=\"", or_empty(f->key_end));
        snprintf(out->value_before, sizeof out->value_before, "\"%s", or_empty(f->param_end));
    } else {
        snprintf(out->value_before, sizeof out->value_before, "%s%s%s%s%s", or_empty(f->key_end),
                 or_empty(f->param_end), f->value ? line : "", or_empty(f->value), f->trim_newline ? "\n" : "");
    }
    snprintf(out->value_after, sizeof out->value_after, "%s%s%s", f->trim_newline ? "\n" : "", f->value_end, line);
    snprintf(out->end, sizeof out->end, "%s%s%s", or_empty(f->close), f->end ? line : "", or_empty(f->end));
    out->between = line;
    return true;
}

static bool form_shape(const struct pn_call_form *form, struct pn_call_shape *out)
{
    if (form->shape)
        *out = *form->shape;
    else if (form->parse == pn_parse_json_calls)
        json_shape(form->config, "arguments", out);
    else if (form->parse == pn_parse_named_calls)
        return named_shape(form->config, out);
    else if (form->parse == pn_parse_xml_calls)
        return xml_shape(form->config, out);
    else
        return false;
    return true;
}

/* The form that models of this template write. */
static const struct pn_call_form *form_of(const struct pn_dialect *d, const char *source, size_t len)
{
    for (int i = 0; source && i < PN_MAX_CALL_FORMS && d->calls[i].parse; i++) {
        const char *shown = d->calls[i].shown ? d->calls[i].shown : d->calls[i].start;
        if (shown && pn_text_find(source, len, 0, shown) < len)
            return &d->calls[i];
    }
    return &d->calls[0];
}

bool pn_dialect_call_shape(const struct pn_dialect *d, const char *source, size_t len, struct pn_call_shape *out)
{
    static const struct pn_json_form llama = {.single = true}, mistral = {.start = "[TOOL_CALLS]"};
    *out = (struct pn_call_shape){.trigger = ""};
    if (strcmp(d->name, "llama3") == 0)
        json_shape(&llama, "parameters", out);
    else if (strcmp(d->name, "mistral") == 0)
        json_shape(&mistral, "arguments", out);
    else if (!form_shape(form_of(d, source, len), out))
        return false;
    if (d->lead)
        snprintf(out->lead, sizeof out->lead, "%s", d->lead);
    if (d->again)
        snprintf(out->again, sizeof out->again, "%s", d->again);
    return true;
}

bool pn_dialect_frame(const struct pn_dialect *d, struct pn_answer_frame *out)
{
    *out = (struct pn_answer_frame){d->think[0].open, d->think[0].close, or_empty(d->again), or_empty(d->content)};
    return d->framed;
}
