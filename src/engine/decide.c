/* Decisions: typed questions about a state, answered with probabilities by any chat model. See pantry.h.
 *
 * The prompt ends with one question, so that all questions share the state before it. The answer is not generated: the
 * probability of each label is that of its tokens at the place of the answer, and all labels of a question together
 * are certain. */
#include "base/alloc.h"
#include "engine/choose.h"
#include "engine/handle.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_QUESTIONS = 400,
    MAX_CHOICES = 255,
    MAX_LEVELS = 10,
    MAX_LABEL = 256, /* bytes */
    MAX_ENDS = 16,
    TAIL = 256 /* bytes of the prompt that a label's first token may depend on */
};

enum kind { NOUL, CHOICE, SCORE };

struct question {
    const char *name;
    enum kind kind;
    json_t *labels; /* texts */
    struct pn_buf text;
    int32_t *ids;
};

struct deciding {
    pantry_model *model;
    json_t *request;
    struct question *questions;
    struct pn_choosing *choosing;
    size_t n;
    int32_t ends[MAX_ENDS];
    size_t n_ends;
};

/* ---- the text of a question ---- */

/* A text, or another JSON value as text. */
static void put_content(struct pn_buf *out, const json_t *v)
{
    if (json_is_string(v)) {
        pn_buf_append(out, json_string_value(v), json_string_length(v));
        return;
    }
    char *json = json_dumps(v, JSON_ENCODE_ANY);
    if (!json)
        out->failed = true;
    else
        pn_buf_puts(out, json);
    free(json);
}

static bool is_content(const json_t *v)
{
    return json_is_string(v) ? json_string_length(v) > 0 : json_is_object(v) || json_is_array(v);
}

static bool is_label(const char *text)
{
    size_t n = strlen(text);
    return n && n <= MAX_LABEL && !strchr(" \t\r\n", text[0]) && !strchr(" \t\r\n", text[n - 1]) &&
           !strpbrk(text, "\r\n");
}

/* {"true": ..., "false": ...}, which may be missing */
static pantry_status read_noul(struct question *q, const json_t *criteria, struct pantry_error *err)
{
    const char *name;
    json_t *v;
    if (criteria && !json_is_null(criteria) && !json_is_object(criteria))
        return pn_fail(err, PANTRY_INVALID, "questions.%s.criteria: wrong type (allowed an object)", q->name);
    json_object_foreach((json_t *)(uintptr_t)criteria, name, v)
    {
        bool yes = strcmp(name, "true") == 0;
        if ((!yes && strcmp(name, "false") != 0) || !json_is_string(v))
            return pn_fail(err, PANTRY_INVALID,
                           "questions.%s.criteria: wrong entry (found \"%.40s\", allowed texts for \"true\" and "
                           "\"false\")",
                           q->name, name);
        pn_buf_printf(&q->text, "\n%s means: %s", yes ? "Yes" : "No", json_string_value(v));
    }
    pn_buf_puts(&q->text, "\nAnswer with Yes or No, and nothing else.");
    json_array_append_new(q->labels, json_string("Yes"));
    json_array_append_new(q->labels, json_string("No"));
    return PANTRY_OK;
}

/* {label: description or null} */
static pantry_status read_choice(struct question *q, const json_t *criteria, struct pantry_error *err)
{
    size_t n = json_object_size(criteria);
    const char *name;
    json_t *v;
    if (!json_is_object(criteria) || n < 2 || n > MAX_CHOICES)
        return pn_fail(err, PANTRY_INVALID, "questions.%s.criteria: wrong size (found %zu labels, allowed 2 to %d)",
                       q->name, n, MAX_CHOICES);
    pn_buf_puts(&q->text, "\nOptions:");
    json_object_foreach((json_t *)(uintptr_t)criteria, name, v)
    {
        if (!is_label(name))
            return pn_fail(err, PANTRY_INVALID,
                           "questions.%s.criteria: wrong label (found \"%.40s\", allowed 1 to %d bytes in one line, "
                           "without spaces at the ends)",
                           q->name, name, MAX_LABEL);
        if (!json_is_null(v) && !json_is_string(v))
            return pn_fail(err, PANTRY_INVALID, "questions.%s.criteria.%.40s: wrong type (allowed a text or null)",
                           q->name, name);
        pn_buf_printf(&q->text, "\n- %s", name);
        if (json_string_length(v))
            pn_buf_printf(&q->text, ": %s", json_string_value(v));
        json_array_append_new(q->labels, json_string(name));
    }
    pn_buf_puts(&q->text, "\nAnswer with one of the options as it is written, and nothing else.");
    return PANTRY_OK;
}

/* [level, ...], the lowest first */
static pantry_status read_score(struct question *q, const json_t *criteria, struct pantry_error *err)
{
    size_t n = json_array_size(criteria), i;
    json_t *v;
    if (!json_is_array(criteria) || n < 2 || n > MAX_LEVELS)
        return pn_fail(err, PANTRY_INVALID, "questions.%s.criteria: wrong size (found %zu levels, allowed 2 to %d)",
                       q->name, n, MAX_LEVELS);
    pn_buf_puts(&q->text, "\nLevels:");
    json_array_foreach((json_t *)(uintptr_t)criteria, i, v)
    {
        if (!json_is_string(v) || !json_string_length(v))
            return pn_fail(err, PANTRY_INVALID, "questions.%s.criteria[%zu]: a text is needed", q->name, i);
        pn_buf_printf(&q->text, "\n%zu: %s", i, json_string_value(v));
        json_array_append_new(q->labels, json_sprintf("%d", (int)i));
    }
    pn_buf_puts(&q->text, "\nAnswer with the number of one level, and nothing else.");
    return PANTRY_OK;
}

static const struct {
    const char *type;
    pantry_status (*read)(struct question *q, const json_t *criteria, struct pantry_error *err);
} kinds[] = {[NOUL] = {"noul", read_noul}, [CHOICE] = {"choice", read_choice}, [SCORE] = {"score", read_score}};

static pantry_status read_question(struct question *q, const json_t *v, struct pantry_error *err)
{
    static const char *const fields[] = {"type", "instructions", "criteria"};
    const char *type = json_string_value(json_object_get(v, "type")), *name;
    const json_t *instructions = json_object_get(v, "instructions");
    json_t *field;
    size_t kind = 0;
    while (type && kind < sizeof kinds / sizeof *kinds && strcmp(kinds[kind].type, type) != 0)
        kind++;
    if (!type || kind == sizeof kinds / sizeof *kinds)
        return pn_fail(err, PANTRY_INVALID,
                       "questions.%.60s.type: unknown (found \"%.40s\", allowed noul, choice, score)", q->name,
                       type ? type : "nothing");
    json_object_foreach((json_t *)(uintptr_t)v, name, field)
    {
        size_t i = 0;
        while (i < sizeof fields / sizeof *fields && strcmp(fields[i], name) != 0)
            i++;
        if (i == sizeof fields / sizeof *fields)
            return pn_fail(err, PANTRY_INVALID, "questions.%.60s.%.60s: unknown field", q->name, name);
    }
    if (!is_content(instructions))
        return pn_fail(err, PANTRY_INVALID, "questions.%.60s.instructions is required", q->name);
    q->kind = (enum kind)kind;
    q->labels = json_array();
    pn_buf_puts(&q->text, "Question: ");
    put_content(&q->text, instructions);
    pantry_status status = kinds[kind].read(q, json_object_get(v, "criteria"), err);
    return !status && (!q->labels || q->text.failed) ? pn_no_memory(err, "a question") : status;
}

static pantry_status read_questions(struct deciding *d, struct pantry_error *err)
{
    json_t *given = json_object_get(d->request, "questions"), *v;
    size_t n = json_object_size(given);
    const char *name;
    pantry_status status = PANTRY_OK;
    if (!json_is_object(given) || n < 1 || n > MAX_QUESTIONS)
        return pn_fail(err, PANTRY_INVALID, "questions: wrong size (found %zu, allowed 1 to %d)", n, MAX_QUESTIONS);
    d->questions = calloc(n, sizeof *d->questions);
    d->choosing = calloc(n, sizeof *d->choosing);
    if (!d->questions || !d->choosing)
        return pn_no_memory(err, "questions");
    json_object_foreach(given, name, v)
    {
        struct question *q = &d->questions[d->n++];
        q->name = name;
        if ((status = read_question(q, v, err)))
            return status;
    }
    return PANTRY_OK;
}

/* ---- prompts ---- */

/* The messages of the request, the question at the end of the last one of the user. */
static json_t *messages_with(const json_t *request, const struct question *q)
{
    const json_t *state = json_object_get(request, "state");
    json_t *list = state ? json_array() : json_copy(json_object_get(request, "messages"));
    size_t n = json_array_size(list);
    json_t *last = json_array_get(list, n - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    struct pn_buf text = {0};
    bool joins = role && strcmp(role, "user") == 0;
    if (state || joins) {
        put_content(&text, state ? state : json_object_get(last, "content"));
        pn_buf_puts(&text, "\n\n");
    }
    pn_buf_append(&text, q->text.data, q->text.len);
    json_t *content = text.failed ? NULL : json_stringn(text.data, text.len);
    json_t *message = json_pack("{s:s, s:o}", "role", "user", "content", content);
    if (joins)
        json_array_set_new(list, n - 1, message);
    else
        json_array_append_new(list, message);
    pn_buf_free(&text);
    return list;
}

/* An answer that would begin with a thought begins after it. */
static bool end_thought(struct pn_buf *text)
{
    static const char open[] = "<think>";
    size_t n = text->len;
    while (n && strchr(" \t\r\n", text->data[n - 1]))
        n--;
    if (n >= sizeof open - 1 && memcmp(text->data + n - (sizeof open - 1), open, sizeof open - 1) == 0) {
        text->len = n;
        pn_buf_puts(text, "\n\n</think>\n\n");
    }
    return !text->failed;
}

static pantry_status render(struct deciding *d, const struct question *q, struct pn_buf *out, struct pantry_error *err)
{
    json_t *context = json_pack("{s:o, s:b, s:b, s:b}", "messages", messages_with(d->request, q),
                                "add_generation_prompt", 1, "enable_thinking", 0, "thinking", 0);
    char *json = context ? json_dumps(context, 0) : NULL, *text = NULL;
    size_t len;
    json_decref(context);
    if (!json)
        return pn_no_memory(err, "a prompt");
    pantry_status status = pantry_model_render(d->model, json, &text, &len, err);
    free(json);
    if (status)
        return status;
    pn_buf_append(out, text, len);
    pantry_free(text);
    return end_thought(out) ? PANTRY_OK : pn_no_memory(err, "a prompt");
}

/* The tokens that a label has after the prompt. */
static pantry_status label_tokens(const struct deciding *d, const struct pn_buf *prompt, const char *label,
                                  struct pn_label *out, struct pantry_error *err)
{
    const pantry_tokenizer *t = pantry_model_tokenizer(d->model);
    size_t at = prompt->len > TAIL ? prompt->len - TAIL : 0, n_before = 0, n = 0;
    int32_t *before = NULL, *with = NULL;
    struct pn_buf text = {0};
    while (at < prompt->len && (prompt->data[at] & 0xC0) == 0x80)
        at++;
    pn_buf_append(&text, prompt->data + at, prompt->len - at);
    size_t n_text = text.len;
    pn_buf_puts(&text, label);
    pantry_status status = text.failed ? pn_no_memory(err, "a label") : PANTRY_OK;
    if (!status)
        status = pantry_tokenize(t, text.data, n_text, PANTRY_TOKENIZE_SPECIAL, &before, &n_before, err);
    if (!status)
        status = pantry_tokenize(t, text.data, text.len, PANTRY_TOKENIZE_SPECIAL, &with, &n, err);
    pn_buf_free(&text);
    if (!status && n > n_before && memcmp(before, with, n_before * sizeof *before) == 0) {
        memmove(with, with + n_before, (n - n_before) * sizeof *with);
        *out = (struct pn_label){.ids = with, .n_ids = n - n_before};
        with = NULL;
    } else if (!status) { /* its beginning joins the prompt's end: alone, then */
        status = pantry_tokenize(t, label, strlen(label), 0, &out->ids, &out->n_ids, err);
    }
    pantry_free(before);
    pantry_free(with);
    return status;
}

static pantry_status prepare(struct deciding *d, size_t i, struct pantry_error *err)
{
    struct question *q = &d->questions[i];
    struct pn_choosing *c = &d->choosing[i];
    struct pn_buf text = {0};
    c->labels = calloc(json_array_size(q->labels), sizeof *c->labels);
    if (!c->labels)
        return pn_no_memory(err, "labels");
    c->n_labels = json_array_size(q->labels);
    pantry_status status = render(d, q, &text, err);
    if (!status)
        status = pantry_tokenize(pantry_model_tokenizer(d->model), text.data, text.len, PANTRY_TOKENIZE_SPECIAL,
                                 &q->ids, &c->n_ids, err);
    c->ids = q->ids;
    for (size_t k = 0; k < c->n_labels && !status; k++)
        status = label_tokens(d, &text, json_string_value(json_array_get(q->labels, k)), &c->labels[k], err);
    pn_buf_free(&text);
    return status;
}

/* Also settles the model's rotation, as a session with a default context would. */
static pantry_status check_context(const struct deciding *d, struct pantry_error *err)
{
    struct pn_sched *sched;
    int limit;
    pantry_status status = pn_context_length(d->model->runner, 0, &limit, err);
    if (!status)
        status = pn_model_sched(d->model, NULL, &sched, err);
    if (!status)
        status = pn_fit_context(d->model, 0, 0, &limit, err);
    for (size_t i = 0; i < d->n && !status; i++) {
        const struct pn_choosing *c = &d->choosing[i];
        size_t longest = 0;
        for (size_t k = 0; k < c->n_labels; k++)
            longest = c->labels[k].n_ids > longest ? c->labels[k].n_ids : longest;
        if (c->n_ids + longest > (size_t)limit)
            status = pn_fail(err, PANTRY_CONTEXT_FULL,
                             "questions.%.60s: too long with the state (found %zu tokens, allowed %d)",
                             d->questions[i].name, c->n_ids + longest, limit);
    }
    return status;
}

/* ---- answers ---- */

/* Probabilities of the labels, which together are 1. */
static void normalize(const struct pn_choosing *c, double *p)
{
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < c->n_labels; i++)
        most = c->labels[i].logprob > most ? c->labels[i].logprob : most;
    for (size_t i = 0; i < c->n_labels; i++)
        sum += p[i] = isinf(most) ? 1 : exp(c->labels[i].logprob - most);
    for (size_t i = 0; i < c->n_labels; i++)
        p[i] /= sum;
}

/* How far the likeliest label is above an even spread: 0 for that, 1 for certainty. */
static double confidence(const double *p, size_t n, size_t *best)
{
    *best = 0;
    for (size_t i = 1; i < n; i++)
        *best = p[i] > p[*best] ? i : *best;
    double c = (p[*best] - 1.0 / (double)n) / (1 - 1.0 / (double)n);
    return c < 0 ? 0 : c > 1 ? 1 : c;
}

static json_t *answer_json(const struct question *q, const json_t *criteria, const double *p)
{
    size_t n = json_array_size(q->labels), best;
    double sure = confidence(p, n, &best), expected = 0;
    if (q->kind == NOUL)
        return json_pack("{s:s, s:f}", "type", "noul", "noul", p[0]);
    json_t *all = json_object(), *legend = json_object();
    for (size_t i = 0; i < n; i++) {
        const char *label = json_string_value(json_array_get(q->labels, i));
        expected += (double)i * p[i];
        json_object_set_new(all, label, json_real(p[i]));
        if (q->kind == SCORE)
            json_object_set(legend, label, json_array_get(criteria, i));
    }
    if (q->kind == SCORE)
        return json_pack("{s:s, s:f, s:o, s:o, s:f}", "type", "score", "score", expected, "legend", legend,
                         "probabilities", all, "confidence", sure);
    json_decref(legend);
    return json_pack("{s:s, s:O, s:o, s:f}", "type", "choice", "choice", json_array_get(q->labels, best),
                     "probabilities", all, "confidence", sure);
}

static pantry_status write_answers(const struct deciding *d, char **json, struct pantry_error *err)
{
    json_t *answers = json_object(), *questions = json_object_get(d->request, "questions");
    json_int_t n_prompt = 0, n_cached = 0;
    for (size_t i = 0; i < d->n; i++) {
        const struct question *q = &d->questions[i];
        double p[MAX_CHOICES];
        normalize(&d->choosing[i], p);
        n_prompt += (json_int_t)d->choosing[i].n_ids;
        n_cached += d->choosing[i].n_cached;
        json_object_set_new(answers, q->name,
                            answer_json(q, json_object_get(json_object_get(questions, q->name), "criteria"), p));
    }
    json_t *v = json_pack("{s:o, s:{s:I, s:I}}", "answers", answers, "usage", "input_tokens", n_prompt, "cached_tokens",
                          n_cached);
    *json = v ? json_dumps(v, JSON_COMPACT) : NULL;
    json_decref(v);
    return *json ? PANTRY_OK : pn_no_memory(err, "the answers");
}

/* ---- all ---- */

static void find_ends(struct deciding *d, const struct pantry_model_info *info)
{
    const pantry_tokenizer *t = pantry_model_tokenizer(d->model);
    for (int32_t id = 0; id < info->n_vocab && d->n_ends < MAX_ENDS; id++)
        if (pantry_token_ends_generation(t, id))
            d->ends[d->n_ends++] = id;
}

static pantry_status read_request(struct deciding *d, const char *json, struct pantry_error *err)
{
    struct pantry_model_info info = {.size = sizeof info};
    size_t n;
    json_error_t where;
    pantry_status status = pantry_model_info(d->model, &info, err);
    if (status)
        return status;
    if (!info.has_tokenizer || !pantry_model_template(d->model, &n))
        return pn_fail(err, PANTRY_UNSUPPORTED, "the model has no chat template, so it decides nothing");
    d->request = json_loads(json, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(d->request))
        return pn_fail(err, PANTRY_FORMAT, "the decision is not a JSON object: %s (line %d)", where.text, where.line);
    const json_t *state = json_object_get(d->request, "state"), *messages = json_object_get(d->request, "messages");
    if ((state || !json_array_size(messages)) && !is_content(state))
        return pn_fail(err, PANTRY_INVALID,
                       "state is required (allowed a text that is not empty, an object, an array)");
    find_ends(d, &info);
    return read_questions(d, err);
}

pantry_status pantry_decide(pantry_model *model, const char *request_json, const struct pantry_decide_options *options,
                            char **json, struct pantry_error *err)
{
    struct pantry_decide_options o = pantry_decide_options_default();
    struct deciding d = {.model = model};
    struct pantry_error why = {0};
    pantry_status status = pn_take_options(&o, options, "options of a decision", err);
    if (status)
        return status;
    status = read_request(&d, request_json, &why);
    for (size_t i = 0; i < d.n && !status; i++)
        status = prepare(&d, i, &why);
    if (!status)
        status = check_context(&d, &why);
    struct pn_choose_options choose = {
        .cache_key = o.cache_key, .cancel = o.cancel, .ends = d.ends, .n_ends = d.n_ends};
    if (!status)
        status = pn_choose(model, d.choosing, d.n, &choose, &why);
    if (!status)
        status = write_answers(&d, json, &why);
    for (size_t i = 0; i < d.n; i++) {
        for (size_t k = 0; k < d.choosing[i].n_labels; k++)
            pantry_free(d.choosing[i].labels[k].ids);
        free(d.choosing[i].labels);
        json_decref(d.questions[i].labels);
        pn_buf_free(&d.questions[i].text);
        pantry_free(d.questions[i].ids);
    }
    free(d.questions);
    free(d.choosing);
    json_decref(d.request);
    return pn_tell(status, &why, err);
}
