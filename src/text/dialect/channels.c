/* Answers that are a sequence of messages, each a header and a body: gpt-oss's Harmony and Muse Glimmer. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

/* Longer than any header: if no header ends within that many bytes, they are text. */
#define MAX_HEADER 512

enum state { HEADER, REASONING, CONTENT, CALL, IGNORED };

/* The first of `marks` in the stream; -1: none so far, and *at is the length that certainly contains no mark. */
static int find_mark(struct pn_stream *s, const char *const *marks, bool final, size_t *at)
{
    const char *text = s->cut.text;
    size_t end = s->state == HEADER && s->cut.len > MAX_HEADER ? MAX_HEADER + 1 : s->cut.len;
    for (; s->scanned < end; s->scanned++) {
        if (text[s->scanned] != '<')
            continue;
        size_t left = s->cut.len - s->scanned;
        for (int i = 0; marks[i]; i++) {
            size_t n = strlen(marks[i]);
            if (memcmp(text + s->scanned, marks[i], n < left ? n : left) != 0)
                continue;
            *at = s->scanned;
            if (left >= n)
                return i;
            if (!final)
                return -1;
        }
    }
    *at = s->scanned;
    return -1;
}

static bool has(struct pn_slice s, const char *needle)
{
    return pn_text_find(s.at, s.len, 0, needle) < s.len;
}

/* Whether the text may be the beginning of a header; -1: not decided yet. */
static int is_header(const struct pn_stream *s, const char *const *beginnings)
{
    size_t i = 0;
    bool maybe = false;
    while (i < s->cut.len && i <= MAX_HEADER && pn_is_space(s->cut.text[i]))
        i++;
    if (i > MAX_HEADER)
        return 0;
    for (int k = 0; beginnings[k]; k++) {
        size_t n = strlen(beginnings[k]), left = s->cut.len - i;
        if (memcmp(s->cut.text + i, beginnings[k], n < left ? n : left) != 0)
            continue;
        if (left >= n)
            return 1;
        maybe = true;
    }
    return maybe ? -1 : 0;
}

/* Reports the text up to `end` as the state says and goes past it. */
static void report(struct pn_parser *p, struct pn_stream *s, size_t end)
{
    if (s->state == REASONING)
        pn_parser_reasoning(p, s->cut.text, end);
    else if (s->state == CONTENT)
        pn_parser_content(p, s->cut.text, end);
    pn_parser_consume(p, end);
}

/* The candidate for a header is text; a <|start|> at its beginning does not begin another one. */
static bool as_content(struct pn_stream *s)
{
    struct pn_cut cut = s->cut;
    s->state = CONTENT;
    s->scanned = pn_cut_literal(&cut, "<|start|>") == PN_DONE;
    return true;
}

/* A header without an end is text. */
static bool no_header(struct pn_stream *s, const char *const *beginnings, bool final)
{
    int header = is_header(s, beginnings);
    if (header == 1 && s->scanned <= MAX_HEADER && !final)
        return false;
    if (header < 0 && !final)
        return false;
    return as_content(s);
}

/* The word after "to=" in a header. */
static struct pn_slice recipient_of(struct pn_slice header)
{
    size_t at = pn_text_find(header.at, header.len, 0, "to="), n = 0;
    if (at == header.len)
        return (struct pn_slice){0};
    at += 3;
    while (at + n < header.len && !pn_is_space(header.at[at + n]) && header.at[at + n] != '<')
        n++;
    return (struct pn_slice){header.at + at, n};
}

static bool is(struct pn_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static void free_call(struct pn_call *call)
{
    pn_buf_free(&call->name);
    pn_buf_free(&call->arguments);
    pn_buf_free(&call->id);
}

/* ---- Harmony ---- */

/* <|start|>assistant[ to=RECIPIENT]<|channel|>CHANNEL[ to=RECIPIENT][ <|constrain|>TYPE]<|message|>BODY<|end|> */

static const char *const harmony_ends[] = {"<|end|>", "<|return|>", "<|call|>", "<|start|>", NULL};
static const char *const harmony_message[] = {"<|message|>", NULL};
static const char *const harmony_beginnings[] = {
    "<|channel|>", "<|start|>", "to=", "<|message|>", "<|constrain|>", NULL};

static bool strip(struct pn_slice *s, const char *prefix)
{
    size_t n = strlen(prefix);
    if (s->len < n || memcmp(s->at, prefix, n) != 0)
        return false;
    s->at += n;
    s->len -= n;
    return true;
}

static bool is_call(const struct pn_stream *s, struct pn_slice recipient)
{
    char name[257];
    if (strip(&recipient, "functions."))
        return recipient.len;
    if (!recipient.len || recipient.len >= sizeof name)
        return false;
    memcpy(name, recipient.at, recipient.len);
    name[recipient.len] = 0;
    return pn_tool_known(s->tool_list, name);
}

static bool harmony_header(struct pn_parser *p, struct pn_stream *s, bool final)
{
    size_t at;
    if (find_mark(s, harmony_message, final, &at) < 0)
        return no_header(s, harmony_beginnings, final);
    if (is_header(s, harmony_beginnings) != 1 || at > MAX_HEADER)
        return as_content(s);
    struct pn_slice header = {s->cut.text, at}, recipient = recipient_of(header);
    if (recipient.len && !is(recipient, "assistant") && !is(recipient, "user")) {
        if (s->tools && is_call(s, recipient)) {
            s->state = CALL; /* header and body are read together once the body has ended */
            s->scanned = at + strlen(harmony_message[0]);
            return true;
        }
        /* A tool that was not offered: the model addresses a sandbox that does not exist. */
        s->state = s->tools ? CONTENT : IGNORED;
    } else {
        s->state = has(header, "analysis") ? REASONING : CONTENT;
    }
    at += strlen(harmony_message[0]);
    if (s->state == REASONING && s->in_content) {
        strip(&header, "<|start|>assistant");
        pn_parser_content(p, header.at, (size_t)(s->cut.text + at - header.at));
    }
    pn_parser_consume(p, at);
    return true;
}

/* Header and body together, `end` bytes. False: not a call. */
static bool harmony_call(struct pn_parser *p, struct pn_stream *s, size_t end)
{
    struct pn_cut cut = {s->cut.text, end, 0, true};
    struct pn_slice header, json;
    struct pn_call call = {.tools = s->tool_list};
    bool done = false;
    pn_cut_until(&cut, harmony_message[0], &header);
    struct pn_slice name = recipient_of(header);
    strip(&name, "functions.");
    pn_cut_space(&cut);
    if (pn_call_name(&call, name, false) == PN_DONE && pn_cut_json(&cut, &json) == PN_DONE &&
        pn_cut_space(&cut) == PN_DONE && cut.pos == cut.len) {
        pn_json_put(&call.arguments, json);
        done = pn_parser_call(p, &call);
    }
    free_call(&call);
    return done;
}

static bool harmony_step(struct pn_parser *p, bool final)
{
    struct pn_stream *s = pn_parser_stream(p);
    size_t at;
    if (s->state == HEADER)
        return harmony_header(p, s, final);
    int mark = find_mark(s, harmony_ends, final, &at);
    if (s->state == CALL) {
        bool endless = at > PN_CALL_LIMIT;
        if (mark < 0 && !final && !endless)
            return false;
        if (endless || !harmony_call(p, s, at))
            pn_parser_content(p, s->cut.text, at);
        pn_parser_consume(p, at);
        if (endless)
            s->state = CONTENT;
    } else {
        report(p, s, at);
    }
    if (mark < 0)
        return s->state == CONTENT && final && s->cut.len;
    if (s->state == REASONING && s->in_content)
        pn_parser_content(p, harmony_ends[mark], strlen(harmony_ends[mark]));
    if (strcmp(harmony_ends[mark], "<|start|>") != 0)
        pn_parser_consume(p, strlen(harmony_ends[mark]));
    s->state = HEADER;
    s->scanned = 0;
    return true;
}

/* The last message of the prompt: its header may be begun or complete. */
static void harmony_start(struct pn_parser *p, const struct pn_parse_options *options)
{
    struct pn_stream *s = pn_parser_stream(p);
    s->state = HEADER;
    if (options->continues) {
        s->state = options->continued_content ? CONTENT : REASONING;
        return;
    }
    for (size_t i = options->prompt_len; options->prompt && i >= 11; i--) {
        struct pn_slice tail = {options->prompt + i - 11, options->prompt_len - i + 11};
        if (options->prompt_len - i > MAX_HEADER || memcmp(tail.at, "<|message|>", 11) != 0)
            continue;
        if (has(tail, "<|end|>") || has(tail, "<|start|>"))
            return;
        struct pn_slice before = {options->prompt, i - 11};
        size_t from = i > 64 ? i - 64 : 0;
        before.at += from;
        before.len -= from;
        s->state = has(before, "<|channel|>analysis") ? REASONING : CONTENT;
        return;
    }
}

#define HARMONY_CALL "<|channel|>commentary to=functions."

/* A call ends with <|call|>, which ends the answer as well. */
static const struct pn_call_shape harmony_shape = {
    .trigger = HARMONY_CALL, .before = HARMONY_CALL, .after = " <|constrain|>json<|message|>"};

const struct pn_dialect pn_dialect_harmony = {
    .name = "harmony",
    .detect = {{.all = {"<|channel|>", "<|message|>"}}, {.all = {"<|channel|>"}}},
    .think = {{"<|channel|>analysis<|message|>", "<|end|>"}},
    .calls = {{.shape = &harmony_shape}},
    .again = "<|start|>assistant",
    .content = "<|channel|>final<|message|>",
    .framed = true,
    .start = harmony_start,
    .step = harmony_step,
};

/* ---- Muse Glimmer ---- */

/* <|start|>assistant to=RECIPIENT<|message|>BODY<|eom|>, the last one ends with <|eot|> */

static const struct pn_xml_form muse_call = {
    .start = "<atem:function_calls>",
    .open = "<atem:invoke name=\"",
    .name_end = "\">",
    .param = "<atem:parameter name=\"",
    .key_end = "\">",
    .value_end = "</atem:parameter>",
    .close = "</atem:invoke>",
    .end = "</atem:function_calls>",
};

static const char *const muse_ends[] = {"<|eom|>", "<|eot|>", "<|start|>", NULL};
static const char *const muse_message[] = {"<|message|>", NULL};
static const char *const muse_beginnings[] = {"to=", "<|start|>", "<|message|>", NULL};

static bool muse_header(struct pn_parser *p, struct pn_stream *s, bool final)
{
    size_t at;
    if (find_mark(s, muse_message, final, &at) < 0)
        return no_header(s, muse_beginnings, final);
    if (is_header(s, muse_beginnings) != 1 || at > MAX_HEADER)
        return as_content(s);
    struct pn_slice recipient = recipient_of((struct pn_slice){s->cut.text, at});
    if (is(recipient, "self"))
        s->state = REASONING;
    else
        s->state = !recipient.len || is(recipient, "user") || !s->tools ? CONTENT : CALL;
    pn_parser_consume(p, at + strlen(muse_message[0]));
    return true;
}

/* All calls in a body of `end` bytes; the rest is content. */
static void muse_calls(struct pn_parser *p, struct pn_stream *s, size_t end)
{
    struct pn_call call = {.tools = s->tool_list};
    struct pn_cut cut = {s->cut.text, end, 0, true};
    size_t done = 0;
    pn_cut_space(&cut);
    for (;;) {
        call.have = call.more = false;
        if (pn_parse_xml_calls(&call, &cut, &muse_call) != PN_DONE || (call.have && !pn_parser_call(p, &call)))
            break;
        done = cut.pos;
        if (!call.more)
            break;
    }
    while (done && done < end && pn_is_space(s->cut.text[done]))
        done++;
    pn_parser_content(p, s->cut.text + done, end - done);
    pn_parser_consume(p, end);
    free_call(&call);
}

static bool muse_step(struct pn_parser *p, bool final)
{
    struct pn_stream *s = pn_parser_stream(p);
    size_t at;
    if (s->state == HEADER)
        return muse_header(p, s, final);
    int mark = find_mark(s, muse_ends, final, &at);
    if (s->state == CALL) {
        bool endless = at > PN_CALL_LIMIT;
        if (mark < 0 && !final && !endless)
            return false;
        muse_calls(p, s, at);
        if (endless)
            s->state = CONTENT;
    } else {
        report(p, s, at);
    }
    if (mark < 0)
        return s->state == CONTENT && final && s->cut.len;
    if (strcmp(muse_ends[mark], "<|start|>") != 0)
        pn_parser_consume(p, strlen(muse_ends[mark]));
    s->state = HEADER;
    s->scanned = 0;
    return true;
}

static void muse_start(struct pn_parser *p, const struct pn_parse_options *options)
{
    struct pn_stream *s = pn_parser_stream(p);
    s->state = !options->continues ? HEADER : options->continued_content ? CONTENT : REASONING;
}

/* A message to each tool. */
static const struct pn_call_shape muse_shape = {
    .trigger = "<atem:function_calls>",
    .lead = " to=",
    .lead_after = "<|message|>",
    .before = "<atem:function_calls>\n<atem:invoke name=\"",
    .after = "\">\n",
    .end = "</atem:invoke>\n</atem:function_calls>",
    .syntax = PN_ARGUMENTS_ELEMENTS,
    .key_before = "<atem:parameter name=\"",
    .value_before = "\">",
    .value_after = "</atem:parameter>\n",
    .ends = "</atem:parameter>",
};

const struct pn_dialect pn_dialect_muse = {
    .name = "muse",
    .detect = {{.all = {"<atem:function_calls>"}}},
    .think = {{" to=self<|message|>", "<|eom|>"}},
    .calls = {{.shape = &muse_shape}},
    .again = "<|start|>assistant",
    .content = " to=user<|message|>",
    .framed = true,
    .start = muse_start,
    .step = muse_step,
};
