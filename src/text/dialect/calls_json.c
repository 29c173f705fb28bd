/* Calls whose arguments are JSON: objects with a name and arguments, and names in markup followed by an object. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

enum pn_step pn_call_name(struct pn_call *call, struct pn_slice name, bool known)
{
    while (name.len && pn_is_space(name.at[0]))
        name.at++, name.len--;
    while (name.len && pn_is_space(name.at[name.len - 1]))
        name.len--;
    if (!name.len || name.len > PN_MAX_NAME || memchr(name.at, 0, name.len))
        return PN_FAIL;
    pn_buf_clear(&call->name);
    pn_utf8_put(&call->name, name.at, name.len);
    if (call->name.failed)
        return PN_FAIL;
    return known && !pn_tool_known(call->tools, call->name.data) ? PN_FAIL : PN_DONE;
}

static void put_arguments(struct pn_call *call, struct pn_slice value)
{
    /* Some models write the object as a string that holds JSON. */
    struct pn_buf text = {0};
    struct pn_slice inner = {0};
    if (pn_json_unquote(&text, value) && text.len) {
        struct pn_cut cut = {text.data, text.len, 0, true};
        if (pn_cut_space(&cut) != PN_DONE || pn_cut_json(&cut, &inner) != PN_DONE || inner.at[0] != '{' ||
            pn_cut_space(&cut) != PN_DONE || cut.pos != cut.len)
            inner.len = 0;
    }
    pn_buf_clear(&call->arguments);
    pn_json_put(&call->arguments, inner.len ? inner : value);
    pn_buf_free(&text);
}

static bool key_is(struct pn_slice key, const char *configured, const char *first, const char *second)
{
    if (configured)
        return pn_json_key_is(key, configured);
    return pn_json_key_is(key, first) || (second && pn_json_key_is(key, second));
}

/* One object that pn_cut_json accepted. */
static enum pn_step take_object(struct pn_call *call, struct pn_slice object, const struct pn_json_form *form,
                                bool inner)
{
    struct pn_slice key, value, name = {0}, arguments = {"{}", 2};
    size_t pos = 0;
    pn_buf_clear(&call->id);
    while (pn_json_member(object, &pos, &key, &value)) {
        if (form->name_is_key) {
            name = key;
            arguments = value;
        } else if (!inner && pn_json_key_is(key, "function") && value.at[0] == '{') {
            return take_object(call, value, form, true); /* {"type": "function", "function": {...}} */
        } else if (key_is(key, form->name_key, "name", "function")) {
            name = value;
        } else if (key_is(key, form->arguments_key, "arguments", "parameters")) {
            arguments = value;
        } else if (key_is(key, form->id_key, "id", NULL)) {
            pn_json_unquote(&call->id, value);
        }
    }
    struct pn_buf text = {0};
    bool named = pn_json_unquote(&text, name);
    enum pn_step step =
        named && text.len ? pn_call_name(call, (struct pn_slice){text.data, text.len}, form->known) : PN_FAIL;
    pn_buf_free(&text);
    if (step != PN_DONE)
        return PN_FAIL;
    put_arguments(call, arguments);
    call->have = true;
    return PN_DONE;
}

static enum pn_step next_object(struct pn_call *call, struct pn_cut *cut, const struct pn_json_form *form)
{
    struct pn_slice object;
    char c;
    PN_TRY(pn_cut_peek(cut, &c));
    if (c != '{')
        return PN_FAIL;
    PN_TRY(pn_cut_json(cut, &object));
    return take_object(call, object, form, false);
}

/* White space and the end marker, which may be missing unless the form says otherwise. */
static enum pn_step finish(struct pn_cut *cut, const struct pn_json_form *form)
{
    size_t before = cut->pos;
    bool found = true;
    if (form->postlude || form->end)
        PN_TRY(pn_cut_space(cut));
    if (form->postlude) {
        PN_TRY(pn_cut_optional(cut, form->postlude, &found));
        if (found && form->end)
            PN_TRY(pn_cut_space(cut));
    }
    if (form->end) {
        PN_TRY(pn_cut_optional(cut, form->end, &found));
        if (!found && form->end_required)
            return PN_FAIL;
    }
    if (!found)
        cut->pos = before;
    return PN_DONE;
}

enum { IN_ARRAY = 1, IN_SEQUENCE };

static enum pn_step json_begin(struct pn_call *call, struct pn_cut *cut, const struct pn_json_form *form)
{
    char c;
    bool found;
    if (form->start)
        PN_TRY(pn_cut_literal(cut, form->start));
    PN_TRY(pn_cut_space(cut));
    if (form->prelude) {
        PN_TRY(pn_cut_optional(cut, form->prelude, &found));
        PN_TRY(pn_cut_space(cut));
    }
    PN_TRY(pn_cut_peek(cut, &c));
    if (c == '[' && !form->single) {
        cut->pos++;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_peek(cut, &c));
        if (c == ']') {
            cut->pos++;
            return finish(cut, form);
        }
        call->stage = IN_ARRAY;
    } else {
        call->stage = IN_SEQUENCE;
    }
    PN_TRY(next_object(call, cut, form));
    if (form->single)
        return finish(cut, form);
    call->more = true;
    return PN_DONE;
}

enum pn_step pn_parse_json_calls(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    const struct pn_json_form *form = config;
    char c;
    if (!call->stage)
        return json_begin(call, cut, form);
    size_t before = cut->pos;
    PN_TRY(pn_cut_space(cut));
    if (cut->pos == cut->len && call->stage == IN_SEQUENCE && !form->end_required)
        return PN_DONE;
    PN_TRY(pn_cut_peek(cut, &c));
    if (call->stage == IN_ARRAY && c == ']') {
        cut->pos++;
        return finish(cut, form);
    }
    bool separator = c == ',' || (c == ';' && call->stage == IN_SEQUENCE);
    if (separator) {
        cut->pos++;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_peek(cut, &c));
    }
    if (c == '{' && (separator || call->stage == IN_SEQUENCE)) {
        PN_TRY(next_object(call, cut, form));
        call->more = true;
        return PN_DONE;
    }
    if (call->stage == IN_ARRAY)
        return PN_FAIL;
    cut->pos = before;
    return finish(cut, form);
}

/* ---- a name in markup, then JSON ---- */

/* The name is everything up to the first of the form's separators. */
static enum pn_step cut_name(struct pn_cut *cut, const struct pn_named_form *form, struct pn_slice *name)
{
    const size_t longest = PN_MAX_NAME + 64; /* of a name and its separator */
    size_t left = cut->len - cut->pos, end = left > longest ? cut->pos + longest : cut->len, best = end, skip = 0;
    for (size_t i = 0; i < PN_MAX_NAME_ENDS && form->name_end[i]; i++) {
        size_t at = pn_text_find(cut->text, end, cut->pos, form->name_end[i]);
        if (at < best) {
            best = at;
            skip = form->name_end[i][0] == '{' ? 0 : strlen(form->name_end[i]);
        }
    }
    if (best == end)
        return left > longest || cut->final ? PN_FAIL : PN_MORE;
    *name = (struct pn_slice){cut->text + cut->pos, best - cut->pos};
    cut->pos = best + skip;
    return PN_DONE;
}

static enum pn_step cut_arguments(struct pn_call *call, struct pn_cut *cut, const struct pn_named_form *form)
{
    struct pn_slice value;
    char c;
    bool found = false;
    PN_TRY(pn_cut_space(cut));
    if (form->fenced) {
        PN_TRY(pn_cut_optional(cut, "```json", &found));
        PN_TRY(pn_cut_space(cut));
    }
    PN_TRY(pn_cut_peek(cut, &c));
    if (c != '{')
        return PN_FAIL;
    PN_TRY(pn_cut_json(cut, &value));
    put_arguments(call, value);
    size_t after = cut->pos;
    if (found) {
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, "```", &found));
        after = found ? cut->pos : after;
    }
    cut->pos = after;
    if (form->end) {
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, form->end, &found));
        if (!found)
            cut->pos = after;
    }
    return PN_DONE;
}

/* functions.NAME:0 is both the id and the name. */
static void split_id(struct pn_call *call, struct pn_slice *name)
{
    pn_utf8_put(&call->id, name->at, name->len);
    size_t n = name->len;
    while (n && name->at[n - 1] >= '0' && name->at[n - 1] <= '9')
        n--;
    if (n && n < name->len && name->at[n - 1] == ':')
        name->len = n - 1;
    static const char prefix[] = "functions.";
    if (name->len > sizeof prefix - 1 && memcmp(name->at, prefix, sizeof prefix - 1) == 0) {
        name->at += sizeof prefix - 1;
        name->len -= sizeof prefix - 1;
    }
}

enum pn_step pn_parse_named_calls(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    const struct pn_named_form *form = config;
    struct pn_slice name, id;
    bool found;
    pn_buf_clear(&call->id);
    if (form->start)
        PN_TRY(pn_cut_literal(cut, form->start));
    if (form->id_first) {
        PN_TRY(pn_cut_until(cut, form->id_end, &id));
        pn_utf8_put(&call->id, id.at, id.len);
    }
    if (form->prefix)
        PN_TRY(pn_cut_optional(cut, form->prefix, &found));
    size_t name_at = cut->pos;
    PN_TRY(cut_name(cut, form, &name));
    if (form->colon_id)
        split_id(call, &name);
    if (form->id_start) {
        /* NAME[CALL_ID]id[ARGS]: the separator that was found may be the id's. */
        size_t at = pn_text_find(name.at, name.len, 0, form->id_start);
        if (at < name.len) {
            size_t skip = strlen(form->id_start);
            pn_utf8_put(&call->id, name.at + at + skip, name.len - at - skip);
            name.len = at;
        }
    }
    if (pn_call_name(call, name, form->known) != PN_DONE) {
        cut->pos = name_at;
        return PN_FAIL;
    }
    PN_TRY(cut_arguments(call, cut, form));
    call->have = true;
    return PN_DONE;
}
