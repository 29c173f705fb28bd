/* Gemma: 4 writes calls as call:NAME{key:value} with quotes that are tokens, and reasons in a channel that may come
 * again; FunctionGemma has other quotes and markers. Gemma 1 to 3 write only text. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

#define MAX_DEPTH 64

struct form {
    const char *start, *end, *quote;
};

static const struct form gemma4 = {"<|tool_call>call:", "<tool_call|>", "<|\"|>"};
static const struct form function_gemma = {"<start_function_call>call:", "<end_function_call>", "<escape>"};

static enum pn_step value(const struct form *form, struct pn_cut *cut, struct pn_buf *out, int depth);

static enum pn_step members(const struct form *form, struct pn_cut *cut, struct pn_buf *out, char close, int depth)
{
    for (bool first = true;; first = false) {
        struct pn_slice key;
        bool quoted;
        char c;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_peek(cut, &c));
        if (c == close) {
            cut->pos++;
            return PN_DONE;
        }
        if (!first) {
            PN_TRY(pn_cut_literal(cut, ","));
            PN_TRY(pn_cut_space(cut));
            pn_buf_putc(out, ',');
        }
        if (close == '}') {
            PN_TRY(pn_cut_optional(cut, form->quote, &quoted));
            PN_TRY(pn_cut_within(cut, quoted ? form->quote : ":", PN_MAX_KEY, &key));
            if (memchr(key.at, '{', key.len) || memchr(key.at, '}', key.len) || !key.len)
                return PN_FAIL;
            if (quoted)
                PN_TRY(pn_cut_literal(cut, ":"));
            pn_json_put_string(out, key.at, key.len);
            pn_buf_putc(out, ':');
            PN_TRY(pn_cut_space(cut));
        }
        PN_TRY(value(form, cut, out, depth + 1));
    }
}

static enum pn_step value(const struct form *form, struct pn_cut *cut, struct pn_buf *out, int depth)
{
    struct pn_slice text;
    bool quoted;
    char c;
    PN_TRY(pn_cut_peek(cut, &c));
    if (depth > MAX_DEPTH)
        return PN_FAIL;
    if (c == '{' || c == '[') {
        cut->pos++;
        pn_buf_putc(out, c);
        PN_TRY(members(form, cut, out, c == '{' ? '}' : ']', depth));
        pn_buf_putc(out, c == '{' ? '}' : ']');
        return PN_DONE;
    }
    PN_TRY(pn_cut_optional(cut, form->quote, &quoted));
    if (!quoted)
        return pn_cut_python(cut, out, MAX_DEPTH);
    PN_TRY(pn_cut_until(cut, form->quote, &text));
    pn_json_put_string(out, text.at, text.len);
    return PN_DONE;
}

static enum pn_step parse(struct pn_call *call, struct pn_cut *cut, const void *config)
{
    const struct form *form = config;
    bool found;
    char c;
    PN_TRY(pn_cut_literal(cut, form->start));
    struct pn_slice name = {cut->text + cut->pos, 0};
    while (cut->pos < cut->len && !strchr("{}<> \n", cut->text[cut->pos]))
        cut->pos++;
    PN_TRY(pn_cut_peek(cut, &c));
    name.len = (size_t)(cut->text + cut->pos - name.at);
    if (c != '{')
        return PN_FAIL;
    PN_TRY(pn_call_name(call, name, false));
    pn_buf_clear(&call->arguments);
    PN_TRY(value(form, cut, &call->arguments, 0));
    size_t before = cut->pos;
    PN_TRY(pn_cut_space(cut));
    PN_TRY(pn_cut_optional(cut, form->end, &found));
    cut->pos = found ? cut->pos : before;
    call->have = true;
    return PN_DONE;
}

static const struct pn_call_shape gemma4_shape = {
    .trigger = "<|tool_call>call:",
    .before = "<|tool_call>call:",
    .after = "{",
    .end = "}<tool_call|>",
    .between = "",
    .syntax = PN_ARGUMENTS_GEMMA,
    .quote = "<|\"|>",
};

static const struct pn_call_shape function_gemma_shape = {
    .trigger = "<start_function_call>call:",
    .before = "<start_function_call>call:",
    .after = "{",
    .end = "}<end_function_call>",
    .between = "",
    .syntax = PN_ARGUMENTS_GEMMA,
    .quote = "<escape>",
};

const struct pn_dialect pn_dialect_gemma4 = {
    .name = "gemma4",
    .detect = {{.all = {"<|tool_call>call:"}}, {.all = {"<|turn>model"}}},
    .think = {{"<|channel>thought", "<channel|>"}},
    .calls = {{.start = "<|tool_call>call:", .parse = parse, .config = &gemma4, .shape = &gemma4_shape}},
    .framed = true,
    .drop = {{.text = "<|channel>", .separate = true}, {.text = "<turn|>"}},
    .flags = PN_THINK_ANYWHERE,
};

const struct pn_dialect pn_dialect_gemma = {
    .name = "gemma",
    .detect = {{.all = {"<start_of_turn>"}}},
    .calls = {{.start = "<start_function_call>call:",
               .parse = parse,
               .config = &function_gemma,
               .shape = &function_gemma_shape}},
    .drop = {{.text = "<end_of_turn>"}},
};
