/* The streaming parser: finds a dialect's markers, and tries its calls where one may begin.
 *
 * Undecided text stays in `buf` from `head` on. Three things are held back: a possible beginning of a marker, white
 * space that depends on what follows, and the text of an incomplete call. Work is bounded: every byte is searched once
 * (`scan`); a call that needs more text is retried only when enough new text has arrived; text that is read again after
 * a failed call is charged against a budget that grows with the position in the stream. So neither the result nor the
 * time depends on how the stream is split. */
#include "text/dialect/dialect_impl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_MARKERS 64
#define MAX_SPACE   4096 /* most white space that is held back */
#define RETRY       32   /* bytes of repeated reading per new byte */
#define RESCAN      8    /* the same for text of failed calls */
#define RESCAN_FREE 65536

enum mode { AT_START, IN_REASONING, AFTER_REASONING, IN_CONTENT, IN_CALL };

enum kind { THINK_OPEN, THINK_CLOSE, CALL_START, DROPPED };

struct marker {
    const char *text;
    size_t len;
    enum kind kind;
    int index; /* of the call form or of the pair of reasoning markers */
    bool in_content, in_reasoning;
};

struct pn_parser {
    const struct pn_dialect *dialect;
    const struct pn_think *think;
    int n_think, pair; /* the pair that opened the reasoning; -1: unknown, any pair may close it */
    pn_parse_fn *fn;
    void *user;
    bool calls, in_content;

    struct marker markers[MAX_MARKERS];
    int n_markers;
    bool first[256]; /* bytes that markers begin with */
    size_t max_eat;

    struct pn_buf buf;
    size_t head, scan; /* into buf: start of the unconsumed bytes, end of the searched ones */
    size_t base;       /* stream position of buf.data[0] */
    enum mode mode, before_call;
    bool reasoning_lead; /* no reasoning yet: white space is markup */
    char last_reasoning; /* the last byte reported */
    bool after_call;     /* white space is held back until something follows */
    bool content_begun;

    const struct pn_call_form *form;
    struct pn_call call;
    size_t lead; /* bytes before the call's marker that belong to it */
    size_t marker_len;
    size_t tried;  /* length at the last attempt */
    size_t looked; /* length already searched for closing brackets */
    bool closed;   /* one arrived since the last attempt */
    size_t credit, rescanned;

    struct pn_stream stream; /* for dialects that read the stream themselves */
    pantry_status failed;
};

static const struct pn_think common_think[] = {
    {"<think>", "</think>"},         {"<thinking>", "</thinking>"}, {"<thought>", "</thought>"},
    {"<reasoning>", "</reasoning>"}, {"[THINK]", "[/THINK]"},       {0},
};

static const struct pn_think *think_of(const struct pn_dialect *dialect)
{
    return dialect->think[0].open ? dialect->think : common_think;
}

bool pn_dialect_reasoning(const struct pn_dialect *dialect, size_t i, const char **open, const char **close)
{
    const struct pn_think *think = think_of(dialect);
    for (size_t k = 0; k <= i; k++)
        if (k == PN_MAX_THINKS || !think[k].open)
            return false;
    *open = think[i].open;
    *close = think[i].close;
    return true;
}

/* ---- reporting ---- */

void pn_parser_reasoning(struct pn_parser *p, const char *text, size_t len)
{
    if (p->in_content) {
        pn_parser_content(p, text, len);
        return;
    }
    if (!len)
        return;
    p->reasoning_lead = false;
    p->last_reasoning = text[len - 1];
    p->fn(p->user, &(struct pn_parse_event){.type = PN_EVENT_REASONING, .text = text, .len = len});
}

void pn_parser_content(struct pn_parser *p, const char *text, size_t len)
{
    if (!len)
        return;
    p->content_begun = true;
    p->fn(p->user, &(struct pn_parse_event){.type = PN_EVENT_CONTENT, .text = text, .len = len});
}

bool pn_parser_call(struct pn_parser *p, struct pn_call *call)
{
    if (call->name.failed || call->arguments.failed || call->id.failed) {
        p->failed = PANTRY_NO_MEMORY;
        return false;
    }
    json_t *arguments = pn_json_load(call->arguments.data, call->arguments.len);
    if (!arguments)
        return false;
    json_decref(arguments);
    p->content_begun = true;
    p->fn(p->user, &(struct pn_parse_event){.type = PN_EVENT_TOOL_CALL,
                                            .name = call->name.data,
                                            .arguments = call->arguments.data,
                                            .id = call->id.len ? call->id.data : NULL});
    pn_buf_clear(&call->name);
    pn_buf_clear(&call->arguments);
    pn_buf_clear(&call->id);
    return true;
}

/* Reports buf[head, end) as reasoning or content. */
static void report(struct pn_parser *p, size_t end, bool reasoning)
{
    const char *text = p->buf.data + p->head;
    size_t len = end - p->head;
    p->head = end;
    if (p->scan < end)
        p->scan = end;
    if (reasoning)
        pn_parser_reasoning(p, text, len);
    else
        pn_parser_content(p, text, len);
}

static void skip_to(struct pn_parser *p, size_t at)
{
    p->head = p->scan = at;
}

/* ---- markers ---- */

static void add_marker(struct pn_parser *p, const char *text, enum kind kind, int index, bool content, bool reasoning)
{
    if (!text || p->n_markers == MAX_MARKERS)
        return;
    p->markers[p->n_markers++] = (struct marker){text, strlen(text), kind, index, content, reasoning};
    p->first[(unsigned char)text[0]] = true;
}

static void add_markers(struct pn_parser *p)
{
    const struct pn_dialect *d = p->dialect;
    bool anywhere = d->flags & PN_THINK_ANYWHERE, dropped = p->in_content && (d->flags & PN_DROP_THINK);
    for (int i = 0; i < p->n_think; i++) {
        if (p->in_content && !dropped)
            break;
        add_marker(p, p->think[i].open, dropped ? DROPPED : THINK_OPEN, i, anywhere || dropped, false);
        add_marker(p, p->think[i].close, dropped ? DROPPED : THINK_CLOSE, i, anywhere || dropped, true);
    }
    for (int i = 0; p->calls && i < PN_MAX_CALL_FORMS && d->calls[i].parse; i++) {
        const struct pn_call_form *form = &d->calls[i];
        if (form->start)
            add_marker(p, form->start, CALL_START, i, true, d->flags & PN_CALLS_END_REASONING);
        if (form->eat && strlen(form->eat) > p->max_eat)
            p->max_eat = strlen(form->eat);
    }
    for (int i = 0; i < PN_MAX_DROPS && d->drop[i].text; i++) {
        const struct pn_drop *drop = &d->drop[i];
        if ((p->in_content && drop->separate) || (!p->calls && drop->calls))
            continue;
        add_marker(p, drop->text, DROPPED, i, true, drop->ends_reasoning);
    }
}

static bool wanted(const struct pn_parser *p, const struct marker *m, bool reasoning)
{
    if (!reasoning)
        return m->in_content;
    return m->in_reasoning && (m->kind != THINK_CLOSE || p->pair < 0 || m->index == p->pair);
}

/* The longest marker at buf[at]; *partial: the text ends before that is decided. */
static const struct marker *marker_at(const struct pn_parser *p, size_t at, bool reasoning, bool final, bool *partial)
{
    const struct marker *best = NULL;
    size_t left = p->buf.len - at;
    *partial = false;
    if (!p->first[(unsigned char)p->buf.data[at]])
        return NULL;
    for (int i = 0; i < p->n_markers; i++) {
        const struct marker *m = &p->markers[i];
        if (!wanted(p, m, reasoning) || (best && m->len <= best->len))
            continue;
        size_t n = m->len < left ? m->len : left;
        if (memcmp(p->buf.data + at, m->text, n) != 0)
            continue;
        if (n == m->len)
            best = m;
        else if (!final)
            *partial = true;
    }
    return *partial ? NULL : best;
}

/* The first marker from `scan` on; moves scan to it, or else to where a marker may begin, or to the end. */
static const struct marker *next_marker(struct pn_parser *p, bool reasoning, bool final)
{
    for (; p->scan < p->buf.len; p->scan++) {
        bool partial;
        const struct marker *m = marker_at(p, p->scan, reasoning, final, &partial);
        if (m || partial)
            return m;
    }
    return NULL;
}

/* ---- reasoning ---- */

static size_t after_space(const struct pn_parser *p, size_t at)
{
    while (at < p->buf.len && pn_is_space(p->buf.data[at]))
        at++;
    return at;
}

static void enter_reasoning(struct pn_parser *p, int pair)
{
    p->mode = IN_REASONING;
    p->pair = pair;
    p->reasoning_lead = true;
}

/* One newline before the end marker belongs to the marker, a blank line to the reasoning. */
static size_t reasoning_end(const struct pn_parser *p, size_t at)
{
    if (p->dialect->flags & PN_KEEP_NEWLINE)
        return at;
    const char *t = p->buf.data;
    if (at == p->head || t[at - 1] != '\n')
        return at;
    char before = at - 1 > p->head ? t[at - 2] : !p->reasoning_lead ? p->last_reasoning : '\n';
    return before == '\n' ? at : at - 1;
}

static void begin_call(struct pn_parser *p, const struct pn_call_form *form, size_t lead, size_t marker_len)
{
    p->before_call = p->mode;
    p->mode = IN_CALL;
    p->form = form;
    p->lead = lead;
    p->marker_len = marker_len;
    p->tried = p->looked = 0;
    p->closed = false;
    p->call.stage = 0;
}

/* The number of bytes before `at` that are white space of the form's marker. */
static size_t eaten(const struct pn_parser *p, const struct pn_call_form *form, size_t at)
{
    size_t n = form->eat ? strlen(form->eat) : 0;
    for (; n; n--)
        if (at - p->head >= n && memcmp(p->buf.data + at - n, form->eat, n) == 0)
            break;
    return n;
}

static bool step_reasoning(struct pn_parser *p, bool final)
{
    if (p->reasoning_lead) {
        size_t at = after_space(p, p->head);
        skip_to(p, at);
        if (at == p->buf.len)
            return false;
    }
    const struct marker *m = next_marker(p, true, final);
    size_t at = p->scan;
    if (!m) {
        size_t hold = 0; /* newlines that may belong to a marker */
        while (!final && hold < 3 && at - p->head > hold && p->buf.data[at - 1 - hold] == '\n')
            hold++;
        report(p, at - hold, true);
        return final && at < p->buf.len;
    }
    if (m->kind == CALL_START) {
        const struct pn_call_form *form = &p->dialect->calls[m->index];
        size_t lead = eaten(p, form, at);
        if (!lead)
            lead = at - reasoning_end(p, at);
        report(p, at - lead, true);
        begin_call(p, form, lead, m->len);
        return true;
    }
    report(p, reasoning_end(p, at), true);
    skip_to(p, at + m->len);
    p->mode = AFTER_REASONING;
    return true;
}

static bool step_after_reasoning(struct pn_parser *p)
{
    size_t at = after_space(p, p->head);
    if (at > p->head && (p->dialect->flags & PN_SPACE_IS_REASONING))
        report(p, at, true);
    skip_to(p, at);
    if (at == p->buf.len)
        return false;
    p->mode = IN_CONTENT;
    return true;
}

/* ---- content ---- */

/* A call without a marker may only begin the content. True if this is decided; *tried: a call is tried. */
static bool try_at_start(struct pn_parser *p, size_t at)
{
    p->content_begun = true;
    for (int i = 0; p->calls && i < PN_MAX_CALL_FORMS && p->dialect->calls[i].parse; i++) {
        const struct pn_call_form *form = &p->dialect->calls[i];
        if (!form->at_start || (form->at_start[0] != '*' && !strchr(form->at_start, p->buf.data[at])))
            continue;
        begin_call(p, form, at - p->head, 0);
        return true;
    }
    return false;
}

/* White space after a call: dropped if another call or the end follows, content otherwise. */
static bool step_after_call(struct pn_parser *p, bool final)
{
    bool partial = false;
    p->scan = after_space(p, p->scan);
    if (p->scan - p->head > MAX_SPACE) {
        p->after_call = false;
        return true;
    }
    if (p->scan == p->buf.len) {
        if (final)
            skip_to(p, p->scan);
        return false;
    }
    const struct marker *m = marker_at(p, p->scan, false, final, &partial);
    if (partial)
        return false;
    if (m)
        skip_to(p, p->scan);
    p->after_call = m && m->kind == DROPPED;
    if (m && m->kind == DROPPED) {
        skip_to(p, p->scan + m->len);
        return true;
    }
    return true;
}

static bool step_content(struct pn_parser *p, bool final)
{
    if (p->after_call)
        return step_after_call(p, final);
    if (!p->content_begun) {
        size_t at = after_space(p, p->head);
        bool endless = at - p->head > MAX_SPACE;
        if (at == p->buf.len && !final && !endless)
            return false;
        if (at < p->buf.len && !endless && try_at_start(p, at))
            return true;
        p->content_begun = true;
    }
    const struct marker *m = next_marker(p, false, final);
    size_t at = p->scan;
    if (!m) {
        size_t hold = 0;
        while (!final && hold < p->max_eat && at - p->head > hold && pn_is_space(p->buf.data[at - 1 - hold]))
            hold++;
        report(p, at - hold, false);
        return final && at < p->buf.len;
    }
    if (m->kind == CALL_START) {
        size_t lead = eaten(p, &p->dialect->calls[m->index], at);
        report(p, at - lead, false);
        begin_call(p, &p->dialect->calls[m->index], lead, m->len);
        return true;
    }
    report(p, at, false);
    skip_to(p, at + m->len);
    if (m->kind == THINK_OPEN)
        enter_reasoning(p, m->index);
    return true;
}

/* At the start: white space, and the marker that opens the reasoning, or closes it without an opening one. */
static bool step_start(struct pn_parser *p, bool final)
{
    const char *drop = p->dialect->drop_at_start;
    size_t at = after_space(p, p->head);
    bool endless = at - p->head > MAX_SPACE;
    if (at == p->buf.len && !final && !endless)
        return false;
    p->mode = IN_CONTENT;
    if (endless)
        return true;
    if (drop) {
        size_t n = strlen(drop), left = p->buf.len - p->head;
        if (memcmp(p->buf.data + p->head, drop, n < left ? n : left) == 0 && (left >= n || !final)) {
            if (left >= n)
                skip_to(p, p->head + n);
            else
                p->mode = AT_START;
            return left >= n;
        }
    }
    for (int i = 0; !p->in_content && at < p->buf.len && i < p->n_think; i++) {
        for (int close = 0; close < 2; close++) {
            const char *text = close ? p->think[i].close : p->think[i].open;
            size_t n = strlen(text), left = p->buf.len - at;
            if (memcmp(p->buf.data + at, text, n < left ? n : left) != 0)
                continue;
            if (left < n && !final) {
                p->mode = AT_START; /* a later pair may match, but this one must be decided first */
                return false;
            }
            if (left < n)
                continue;
            skip_to(p, at + n);
            if (close)
                p->mode = AFTER_REASONING;
            else
                enter_reasoning(p, i);
            return true;
        }
    }
    return true;
}

/* ---- calls ---- */

/* The candidate for a call is text. It is searched again after its first marker, unless that happened too often. */
static bool give_up(struct pn_parser *p, size_t reached)
{
    bool reasoning = p->before_call == IN_REASONING;
    size_t end = p->head + p->lead + p->marker_len, position = p->base + p->head + p->lead + reached;
    p->mode = p->before_call;
    if (p->call.stage) { /* calls were taken from it already: the rest is content */
        p->mode = IN_CONTENT;
        return true;
    }
    if (p->rescanned + reached > RESCAN * position + RESCAN_FREE)
        end = p->head + p->lead + (reached > p->marker_len ? reached : p->marker_len);
    else
        p->rescanned += reached;
    report(p, end, reasoning);
    p->scan = p->head;
    return true;
}

static bool take_call(struct pn_parser *p, size_t used)
{
    bool more = p->call.more;
    skip_to(p, p->head + p->lead + used);
    p->lead = 0;
    p->tried = p->looked = 0;
    p->closed = false;
    p->marker_len = 0;
    p->pair = -1;
    p->before_call = IN_CONTENT;
    p->content_begun = true;
    p->after_call = true;
    if (!more)
        p->mode = IN_CONTENT;
    return true;
}

static bool step_call(struct pn_parser *p, bool final)
{
    struct pn_cut cut = {p->buf.data + p->head + p->lead, p->buf.len - p->head - p->lead, 0, final};
    if (cut.len >= PN_CALL_LIMIT) {
        cut.len = PN_CALL_LIMIT;
        cut.final = true;
    }
    if (!cut.final && cut.len < 2 * p->tried) {
        /* An attempt is more likely to succeed if a bracket was closed since the last one. */
        for (; p->looked < cut.len; p->looked++)
            p->closed |= strchr("}])>", cut.text[p->looked]) != NULL;
        if (p->credit < (p->closed ? cut.len : 16 * cut.len))
            return false;
    }
    p->looked = cut.len;
    p->closed = false;
    p->credit -= p->credit < cut.len ? p->credit : cut.len;
    p->tried = cut.len;
    int stage = p->call.stage;
    p->call.have = p->call.more = false;
    enum pn_step step = p->form->parse(&p->call, &cut, p->form->config);
    if (step == PN_DONE && (!p->call.have || pn_parser_call(p, &p->call)))
        return take_call(p, cut.pos);
    p->call.stage = stage;
    if (step == PN_MORE)
        return false;
    return give_up(p, cut.pos);
}

/* ---- the stream ---- */

struct pn_stream *pn_parser_stream(struct pn_parser *p)
{
    return &p->stream;
}

void pn_parser_consume(struct pn_parser *p, size_t n)
{
    p->head += n;
    p->stream.cut.text += n;
    p->stream.cut.len -= n;
    p->stream.scanned = 0;
}

static bool step(struct pn_parser *p, bool final)
{
    if (p->dialect->step) {
        p->stream.cut = (struct pn_cut){p->buf.data + p->head, p->buf.len - p->head, 0, final};
        return p->dialect->step(p, final);
    }
    switch (p->mode) {
    case AT_START:
        return step_start(p, final);
    case IN_REASONING:
        return step_reasoning(p, final);
    case AFTER_REASONING:
        return step_after_reasoning(p);
    case IN_CONTENT:
        return step_content(p, final);
    case IN_CALL:
        return step_call(p, final);
    }
    return false;
}

static pantry_status run(struct pn_parser *p, bool final, struct pantry_error *err)
{
    while (p->head < p->buf.len && step(p, final) && !p->failed)
        ;
    if (p->failed)
        return pn_no_memory(err, "a tool call");
    if (p->head > p->buf.len / 2 || p->head == p->buf.len) {
        size_t left = p->buf.len - p->head;
        if (p->buf.data)
            memmove(p->buf.data, p->buf.data + p->head, left);
        p->base += p->head;
        p->scan -= p->scan < p->head ? p->scan : p->head;
        p->head = 0;
        p->buf.len = left;
    }
    return PANTRY_OK;
}

pantry_status pn_parser_push(struct pn_parser *p, const char *text, size_t len, struct pantry_error *err)
{
    if (p->failed)
        return pn_no_memory(err, "a tool call");
    if (!len)
        return PANTRY_OK;
    pn_buf_append(&p->buf, text, len);
    if (p->buf.failed) {
        p->failed = PANTRY_NO_MEMORY;
        return pn_no_memory(err, "an answer's text");
    }
    if (p->credit < SIZE_MAX / 2)
        p->credit += len < SIZE_MAX / 2 / RETRY ? len * RETRY : SIZE_MAX / 2;
    return run(p, false, err);
}

pantry_status pn_parser_finish(struct pn_parser *p, struct pantry_error *err)
{
    return p->failed ? pn_no_memory(err, "a tool call") : run(p, true, err);
}

/* ---- the beginning ---- */

static bool ends_with(const char *text, size_t len, const char *end)
{
    size_t n = strlen(end);
    return len >= n && memcmp(text + len - n, end, n) == 0;
}

/* Whether the prompt ends inside the reasoning, or right after it. */
static void read_prompt(struct pn_parser *p, const char *prompt, size_t len)
{
    size_t end = len;
    const char *counts = p->dialect->prompt_reasoning;
    if (counts && ends_with(prompt, len, counts)) {
        p->mode = p->in_content ? IN_CONTENT : IN_REASONING;
        pn_parser_reasoning(p, counts, strlen(counts));
        return;
    }
    while (end && pn_is_space(prompt[end - 1]))
        end--;
    for (int i = 0; i < p->n_think; i++) {
        size_t n = strlen(p->think[i].open);
        if (ends_with(prompt, end, p->think[i].open)) {
            if (!p->in_content) {
                enter_reasoning(p, i);
            } else if (!(p->dialect->flags & PN_DROP_THINK)) {
                pn_parser_content(p, prompt + end - n, len - (end - n));
            }
            return;
        }
        if (ends_with(prompt, end, p->think[i].close)) {
            p->mode = p->in_content ? IN_CONTENT : AFTER_REASONING;
            return;
        }
    }
}

static void continue_message(struct pn_parser *p, const char *reasoning, const char *content)
{
    bool marked = p->in_content && reasoning && !(p->dialect->flags & PN_DROP_THINK) && !p->dialect->step;
    if (marked && (*reasoning || !content))
        pn_parser_content(p, p->think[0].open, strlen(p->think[0].open));
    pn_parser_reasoning(p, reasoning, reasoning ? strlen(reasoning) : 0);
    if (!content) {
        p->mode = p->in_content ? IN_CONTENT : IN_REASONING;
        p->reasoning_lead = !reasoning || !*reasoning;
        return;
    }
    if (marked && *reasoning)
        pn_parser_content(p, p->think[0].close, strlen(p->think[0].close));
    pn_parser_content(p, content, strlen(content));
    p->mode = IN_CONTENT;
    p->content_begun = true;
}

struct pn_parser *pn_parser_new(const struct pn_dialect *dialect, const struct pn_parse_options *options,
                                pn_parse_fn *fn, void *user)
{
    struct pn_parser *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->dialect = dialect;
    p->fn = fn;
    p->user = user;
    p->in_content = options->reasoning_in_content;
    p->calls = options->tool_choice != PN_TOOL_NONE && json_array_size(options->tools);
    p->think = think_of(dialect);
    while (p->n_think < PN_MAX_THINKS && p->think[p->n_think].open)
        p->n_think++;
    p->pair = -1;
    p->call.tools = options->tools;
    p->stream.tools = p->calls;
    p->stream.in_content = p->in_content;
    p->stream.tool_list = options->tools;
    add_markers(p);
    if (options->continues)
        continue_message(p, options->continued_reasoning, options->continued_content);
    else if (!dialect->start && options->prompt)
        read_prompt(p, options->prompt, options->prompt_len);
    if (dialect->start)
        dialect->start(p, options);
    return p;
}

void pn_parser_free(struct pn_parser *p)
{
    if (!p)
        return;
    pn_buf_free(&p->buf);
    pn_buf_free(&p->call.name);
    pn_buf_free(&p->call.arguments);
    pn_buf_free(&p->call.id);
    free(p);
}
