/* MiniMax: M1 lists JSON objects in <tool_calls>, M2 writes invoke and parameter elements, M3 puts a token before every
 * tag and spells nested values out as elements named after their keys. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

static const struct pn_json_form m1_call = {.start = "<tool_calls>", .end = "</tool_calls>"};

const struct pn_dialect pn_dialect_minimax_m1 = {
    .name = "tool-calls-list",
    .detect = {{.all = {"<tool_calls>", "</tool_calls>"}, .none = {"[BEGIN FINAL RESPONSE]", "<tool_call>"}}},
    .calls = {{.start = "<tool_calls>", .parse = pn_parse_json_calls, .config = &m1_call, .eat = "\n"}},
};

static const struct pn_xml_form m2_call = {
    .start = "<minimax:tool_call>",
    .open = "<invoke name=\"",
    .name_end = "\">",
    .param = "<parameter name=\"",
    .key_end = "\">",
    .value_end = "</parameter>",
    .close = "</invoke>",
    .end = "</minimax:tool_call>",
};

const struct pn_dialect pn_dialect_minimax_m2 = {
    .name = "minimax-m2",
    .detect = {{.all = {"<minimax:tool_call>"}}},
    .think = {{"<think>", "</think>"}},
    .calls = {{.start = "<minimax:tool_call>", .parse = pn_parse_xml_calls, .config = &m2_call, .eat = "\n"}},
};

/* ---- M3 ---- */

#define NS        "]<]minimax[>["
#define MAX_DEPTH 32

struct m3 {
    const json_t *root;
    struct pn_buf *out;
};

static enum pn_step m3_value(const struct m3 *m, struct pn_cut *cut, const json_t *schema, struct pn_slice key,
                             int depth);

/* The tag's name after "NS<". */
static enum pn_step m3_tag(struct pn_cut *cut, struct pn_slice *tag)
{
    PN_TRY(pn_cut_within(cut, ">", PN_MAX_KEY, tag));
    return tag->len && tag->len <= PN_MAX_KEY && !memchr(tag->at, '<', tag->len) ? PN_DONE : PN_FAIL;
}

static enum pn_step m3_close(struct pn_cut *cut, struct pn_slice key)
{
    PN_TRY(pn_cut_literal(cut, NS "</"));
    if (cut->len - cut->pos < key.len + 1)
        return cut->final || memcmp(cut->text + cut->pos, key.at,
                                    cut->len - cut->pos < key.len ? cut->len - cut->pos : key.len)
                   ? PN_FAIL
                   : PN_MORE;
    if (memcmp(cut->text + cut->pos, key.at, key.len) != 0)
        return PN_FAIL;
    cut->pos += key.len;
    return pn_cut_literal(cut, ">");
}

/* Elements up to "NS</", as the members of an object, or as an array where they are called "item". */
static enum pn_step m3_elements(const struct m3 *m, struct pn_cut *cut, const json_t *schema, bool array, int depth)
{
    pn_buf_putc(m->out, array ? '[' : '{');
    for (bool first = true;; first = false) {
        struct pn_slice tag;
        bool closing;
        PN_TRY(pn_cut_space(cut));
        struct pn_cut ahead = *cut;
        PN_TRY(pn_cut_optional(&ahead, NS "</", &closing));
        if (closing)
            break;
        PN_TRY(pn_cut_literal(cut, NS "<"));
        PN_TRY(m3_tag(cut, &tag));
        pn_buf_puts(m->out, first ? "" : ",");
        const json_t *inner = NULL;
        if (array) {
            inner = json_object_get(pn_schema_resolve(m->root, schema), "items");
        } else {
            struct pn_buf name = {0};
            pn_buf_append(&name, tag.at, tag.len);
            inner = name.data ? pn_schema_property(m->root, schema, name.data) : NULL;
            pn_buf_free(&name);
            pn_json_put_string(m->out, tag.at, tag.len);
            pn_buf_putc(m->out, ':');
        }
        PN_TRY(m3_value(m, cut, inner, tag, depth + 1));
    }
    pn_buf_putc(m->out, array ? ']' : '}');
    return PN_DONE;
}

/* The value between a key's tags; the position moves past the closing one. */
static enum pn_step m3_value(const struct m3 *m, struct pn_cut *cut, const json_t *schema, struct pn_slice key,
                             int depth)
{
    unsigned types = pn_schema_types(m->root, schema);
    bool nested, item;
    if (depth > MAX_DEPTH)
        return PN_FAIL;
    struct pn_cut ahead = *cut;
    if (!(types & PN_JSON_STRING) || types == PN_JSON_ANY) {
        PN_TRY(pn_cut_space(&ahead));
        struct pn_cut items = ahead;
        PN_TRY(pn_cut_optional(&items, NS "<item>", &item));
        items = ahead;
        PN_TRY(pn_cut_optional(&items, NS "</", &nested));
        bool empty = nested && types != PN_JSON_ANY && (types & (PN_JSON_OBJECT | PN_JSON_ARRAY));
        items = ahead;
        PN_TRY(pn_cut_optional(&items, NS "<", &nested));
        if (empty || (nested && ahead.text[ahead.pos + sizeof NS] != '/')) {
            PN_TRY(
                m3_elements(m, &ahead, schema, (item && (types & PN_JSON_ARRAY)) || !(types & PN_JSON_OBJECT), depth));
            *cut = ahead;
            return m3_close(cut, key);
        }
    }
    struct pn_buf end = {0};
    pn_buf_puts(&end, NS "</");
    pn_buf_append(&end, key.at, key.len);
    pn_buf_putc(&end, '>');
    struct pn_slice text;
    enum pn_step step = end.failed ? PN_FAIL : pn_cut_until(cut, end.data, &text);
    pn_buf_free(&end);
    if (step == PN_DONE)
        pn_value_put(m->out, text, types != PN_JSON_ANY && (types & PN_JSON_STRING) ? PN_JSON_STRING : types);
    return step;
}

static enum pn_step m3_parse(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    (void)config;
    struct pn_slice name;
    bool found;
    if (!call->stage) {
        PN_TRY(pn_cut_literal(cut, NS "<tool_call>"));
        PN_TRY(pn_cut_space(cut));
    } else {
        size_t before = cut->pos;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_optional(cut, NS "</tool_call>", &found));
        if (found)
            return PN_DONE;
        struct pn_cut ahead = *cut;
        PN_TRY(pn_cut_optional(&ahead, NS "<invoke", &found));
        if (!found) {
            cut->pos = before;
            return PN_DONE;
        }
    }
    PN_TRY(pn_cut_literal(cut, NS "<invoke name=\""));
    PN_TRY(pn_cut_within(cut, "\">", PN_MAX_NAME, &name));
    PN_TRY(pn_call_name(call, name, false));
    const json_t *schema = pn_tool_parameters(call->tools, call->name.data);
    struct m3 m = {schema, &call->arguments};
    pn_buf_clear(&call->arguments);
    PN_TRY(m3_elements(&m, cut, schema, false, 0));
    PN_TRY(pn_cut_literal(cut, NS "</invoke>"));
    call->stage = 1;
    call->have = call->more = true;
    return PN_DONE;
}

/* Values that are not strings as JSON, which the parser takes as well as elements. */
static const struct pn_call_shape m3_shape = {
    .trigger = NS "<tool_call>",
    .open = NS "<tool_call>\n",
    .before = NS "<invoke name=\"",
    .after = "\">",
    .end = NS "</invoke>\n",
    .close = NS "</tool_call>",
    .between = "",
    .list = true,
    .syntax = PN_ARGUMENTS_ELEMENTS,
    .key_before = NS "<",
    .value_before = ">",
    .value_after = NS "</",
    .key_close = ">",
    .ends = NS,
    .union_is_string = true,
};

const struct pn_dialect pn_dialect_minimax_m3 = {
    .name = "minimax-m3",
    .detect = {{.all = {NS}}},
    .think = {{"<mm:think>", "</mm:think>"}},
    .calls = {{.start = NS "<tool_call>", .parse = m3_parse, .shape = &m3_shape}},
};
