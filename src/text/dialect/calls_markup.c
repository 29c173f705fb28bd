/* Calls whose parameters are elements typed by the tool's schema, and calls in Python's syntax. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

/* Checks what follows a value's end marker: anything else means that the marker is part of the value. */
static enum pn_step value_ends(struct pn_cut *cut, const struct pn_xml_form *form)
{
    struct pn_cut ahead = *cut;
    const char *const followers[] = {form->param, form->close, form->end, form->open};
    PN_TRY(pn_cut_space(&ahead));
    if (ahead.pos == ahead.len)
        return PN_DONE;
    bool maybe = false;
    for (size_t i = 0; i < sizeof followers / sizeof *followers; i++) {
        enum pn_step step = followers[i] ? pn_cut_literal(&ahead, followers[i]) : PN_FAIL;
        if (step == PN_DONE)
            return PN_DONE;
        maybe |= step == PN_MORE;
    }
    return maybe ? PN_MORE : PN_FAIL;
}

/* The value up to the end marker that really ends it; the position moves past that. */
static enum pn_step cut_value(struct pn_cut *cut, const struct pn_xml_form *form, struct pn_slice *value)
{
    size_t start = cut->pos, from = start, n = strlen(form->value_end);
    for (;;) {
        size_t at = pn_text_find(cut->text, cut->len, from, form->value_end);
        if (at == cut->len) {
            if (cut->final)
                cut->pos = cut->len;
            return cut->final ? PN_FAIL : PN_MORE;
        }
        struct pn_cut ahead = {cut->text, cut->len, at + n, cut->final};
        enum pn_step step = value_ends(&ahead, form);
        if (step == PN_MORE)
            return PN_MORE;
        if (step == PN_DONE) {
            *value = (struct pn_slice){cut->text + start, at - start};
            cut->pos = at + n;
            return PN_DONE;
        }
        from = at + 1;
    }
}

static enum pn_step cut_cdata(struct pn_cut *cut, const struct pn_xml_form *form, struct pn_slice *value, bool *found)
{
    PN_TRY(pn_cut_optional(cut, "<![CDATA[", found));
    if (!*found)
        return PN_DONE;
    PN_TRY(pn_cut_until(cut, "]]>", value));
    PN_TRY(pn_cut_space(cut));
    return pn_cut_literal(cut, form->value_end);
}

static void trim_newlines(struct pn_slice *value)
{
    if (value->len && value->at[0] == '\n')
        value->at++, value->len--;
    if (value->len && value->at[value->len - 1] == '\n')
        value->len--;
}

/* One parameter after its opening marker, appended to the arguments. */
static enum pn_step cut_parameter(struct pn_call *call, struct pn_cut *cut, const struct pn_xml_form *form)
{
    struct pn_slice key, value, attribute = {0};
    bool found = false;
    PN_TRY(pn_cut_within(cut, form->key_end, PN_MAX_KEY, &key));
    if (form->param_end)
        PN_TRY(pn_cut_within(cut, form->param_end, PN_MAX_KEY, &attribute));
    if (form->value) {
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_literal(cut, form->value));
    }
    if (form->cdata)
        PN_TRY(cut_cdata(cut, form, &value, &found));
    if (!found)
        PN_TRY(cut_value(cut, form, &value));
    if (form->trim_newline)
        trim_newlines(&value);

    struct pn_buf name = {0};
    pn_utf8_put(&name, key.at, key.len);
    const json_t *root = pn_tool_parameters(call->tools, call->name.data);
    unsigned types = pn_schema_types(root, pn_schema_property(root, root, name.data ? name.data : ""));
    if (form->union_is_string && types != PN_JSON_ANY && (types & PN_JSON_STRING))
        types = PN_JSON_STRING;
    if (form->string_attribute)
        types = pn_text_find(attribute.at, attribute.len, 0, "true") < attribute.len ? PN_JSON_STRING
                                                                                     : PN_JSON_ANY & ~PN_JSON_STRING;
    pn_buf_puts(&call->arguments, call->arguments.len > 1 ? "," : "");
    pn_json_put_string(&call->arguments, key.at, key.len);
    pn_buf_putc(&call->arguments, ':');
    pn_value_put(&call->arguments, value, found ? PN_JSON_STRING : types);
    call->arguments.failed |= name.failed;
    pn_buf_free(&name);
    return PN_DONE;
}

/* The function's name and what closes its opening tag. */
static enum pn_step cut_function(struct pn_call *call, struct pn_cut *cut, const struct pn_xml_form *form)
{
    struct pn_slice name, skipped;
    size_t start = cut->pos;
    if (form->name_end) {
        PN_TRY(pn_cut_within(cut, form->name_end, PN_MAX_NAME, &name));
    } else {
        PN_TRY(pn_cut_space(cut));
        start = cut->pos;
        while (cut->pos < cut->len && !pn_is_space(cut->text[cut->pos]) && cut->text[cut->pos] != '<')
            cut->pos++;
        if (cut->pos == cut->len || cut->pos - start > PN_MAX_NAME) {
            bool more = !cut->final && cut->pos - start <= PN_MAX_NAME;
            cut->pos = start;
            return more ? PN_MORE : PN_FAIL;
        }
        name = (struct pn_slice){cut->text + start, cut->pos - start};
    }
    if (pn_call_name(call, name, form->known) != PN_DONE || memchr(name.at, '\n', name.len) ||
        memchr(name.at, '{', name.len)) {
        cut->pos = start;
        return PN_FAIL;
    }
    return form->open_end ? pn_cut_within(cut, form->open_end, PN_MAX_KEY, &skipped) : PN_DONE;
}

enum { AFTER_FUNCTION = 1 };

static enum pn_step cut_end(struct pn_call *call, struct pn_cut *cut, const struct pn_xml_form *form)
{
    bool found = false;
    if (form->end && form->end != form->close) {
        size_t before = cut->pos;
        if (form->open) { /* several functions may share the markers around them */
            call->stage = AFTER_FUNCTION;
            call->more = true;
            return PN_DONE;
        }
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, form->end, &found));
        cut->pos = found ? cut->pos : before;
    }
    return PN_DONE;
}

enum pn_step pn_parse_xml_calls(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    const struct pn_xml_form *form = config;
    bool found = false;
    size_t before = cut->pos;
    if (!call->stage && form->start) {
        PN_TRY(pn_cut_literal(cut, form->start));
        PN_TRY(pn_cut_space(cut));
    }
    if (call->stage == AFTER_FUNCTION) {
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, form->end, &found));
        if (found)
            return PN_DONE;
        PN_TRY(pn_cut_optional(cut, form->open, &found));
        if (!found) {
            cut->pos = before;
            return PN_DONE;
        }
    } else if (form->open) {
        PN_TRY(pn_cut_literal(cut, form->open));
    }
    PN_TRY(cut_function(call, cut, form));
    pn_buf_clear(&call->arguments);
    pn_buf_putc(&call->arguments, '{');
    for (;;) {
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, form->param, &found));
        if (!found)
            break;
        PN_TRY(cut_parameter(call, cut, form));
    }
    pn_buf_putc(&call->arguments, '}');
    PN_TRY(pn_cut_optional(cut, form->close, &found));
    if (!found) { /* the function's end may be left out, the call's may not */
        struct pn_cut ahead = *cut;
        if (!form->end)
            return PN_FAIL;
        PN_TRY(pn_cut_literal(&ahead, form->end));
    }
    call->have = true;
    return cut_end(call, cut, form);
}

/* ---- Python ---- */

/* name(key=value, ...) with the position at the name. */
static enum pn_step cut_python_call(struct pn_call *call, struct pn_cut *cut, bool known)
{
    struct pn_slice name, key;
    char c;
    size_t start = cut->pos;
    while (cut->pos < cut->len && !strchr("([]{}\"', \n", cut->text[cut->pos]))
        cut->pos++;
    PN_TRY(pn_cut_peek(cut, &c));
    if (c != '(')
        return PN_FAIL;
    name = (struct pn_slice){cut->text + start, cut->pos - start};
    if (pn_call_name(call, name, known) != PN_DONE)
        return PN_FAIL;
    cut->pos++;
    pn_buf_clear(&call->arguments);
    pn_buf_putc(&call->arguments, '{');
    for (bool first = true;; first = false) {
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_peek(cut, &c));
        if (c == ')')
            break;
        if (!first) {
            PN_TRY(pn_cut_literal(cut, ","));
            PN_TRY(pn_cut_space(cut));
            PN_TRY(pn_cut_peek(cut, &c));
            if (c == ')')
                break;
        }
        start = cut->pos;
        while (cut->pos < cut->len && !strchr("=()[]{}\"',: \n", cut->text[cut->pos]))
            cut->pos++;
        key = (struct pn_slice){cut->text + start, cut->pos - start};
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_literal(cut, "="));
        PN_TRY(pn_cut_space(cut));
        if (!key.len)
            return PN_FAIL;
        pn_buf_puts(&call->arguments, first ? "" : ",");
        pn_json_put_string(&call->arguments, key.at, key.len);
        pn_buf_putc(&call->arguments, ':');
        PN_TRY(pn_cut_python(cut, &call->arguments, 0));
    }
    cut->pos++;
    pn_buf_putc(&call->arguments, '}');
    call->have = true;
    return PN_DONE;
}

/* Whether the list ends here; then the position is after its end. */
static enum pn_step python_list_ends(struct pn_cut *cut, const struct pn_python_form *form, bool *ends)
{
    bool found;
    if (form->bare)
        return pn_cut_optional(cut, form->end, ends);
    PN_TRY(pn_cut_optional(cut, "]", ends));
    if (*ends && form->end) {
        size_t before = cut->pos;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, form->end, &found));
        cut->pos = found ? cut->pos : before;
    }
    return PN_DONE;
}

enum pn_step pn_parse_python_calls(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    const struct pn_python_form *form = config;
    bool found;
    if (!call->stage) {
        if (form->start)
            PN_TRY(pn_cut_literal(cut, form->start));
        PN_TRY(pn_cut_space(cut));
        if (!form->bare)
            PN_TRY(pn_cut_literal(cut, "["));
    } else {
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, ",", &found));
    }
    PN_TRY(pn_cut_space(cut));
    PN_TRY(python_list_ends(cut, form, &found));
    if (found)
        return PN_DONE;
    PN_TRY(cut_python_call(call, cut, form->known));
    call->stage = PN_IN_PYTHON;
    call->more = true;
    return PN_DONE;
}
