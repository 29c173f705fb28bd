/* Multiple choice and generation from a JSONL file: see eval_tasks.h. */
#include "cli/eval_tasks.h"

#include "base/alloc.h"
#include "cli/model.h"
#include "cli/options.h"
#include "cli/say.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20, ANSWER_TOKENS = 64, MOST_CHOICES = 64, TASK_TOKENS = 4096 };

struct score {
    int n, right, right_by_length;
};

struct tasks {
    const char *path;
    int line;
    pantry_model *model;
    pantry_session *session;
    int n_vocab;
    struct score choices, generation;
    struct pn_buf answer;
};

static int bad_line(const struct tasks *t, const char *what)
{
    pn_cli_say_error("%s: line %d %s", t->path, t->line, what);
    return PN_EXIT_FAILED;
}

/* The log probability of a continuation: the sum over the tokens after the first `from`. */
static int continuation(struct tasks *t, const int32_t *ids, size_t n, size_t from, double *out)
{
    struct pantry_error error = {0};
    float *logits = n <= TASK_TOKENS ? malloc(n * (size_t)t->n_vocab * sizeof *logits) : NULL;
    *out = 0;
    if (!logits)
        return n > TASK_TOKENS ? bad_line(t, "is longer than 4,096 tokens") : pn_cli_no_memory();
    pantry_status status = pantry_logits(t->session, ids, n, NULL, 0, logits, &error);
    for (size_t at = from; status == PANTRY_OK && at < n; at++) {
        const float *row = logits + (at - 1) * (size_t)t->n_vocab;
        double sum = 0;
        float most = row[0];
        for (int i = 1; i < t->n_vocab; i++)
            most = row[i] > most ? row[i] : most;
        for (int i = 0; i < t->n_vocab; i++)
            sum += (double)expf(row[i] - most);
        *out += (double)(row[ids[at]] - most) - log(sum);
    }
    free(logits);
    return status == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&error);
}

static int tokenize(const struct tasks *t, const char *text, size_t len, int32_t **ids, size_t *n)
{
    struct pantry_error error = {0};
    const pantry_tokenizer *tokenizer = pantry_model_tokenizer(t->model);
    if (pantry_tokenize(tokenizer, text, len, PANTRY_TOKENIZE_BOS, ids, n, &error) == PANTRY_OK)
        return PN_EXIT_DONE;
    return pn_cli_fail(&error);
}

/* The log probability of a choice after the prompt. The tokens that both texts begin with are the prompt's. */
static int score_choice(struct tasks *t, const char *prompt, const char *choice, double *out)
{
    struct pn_buf text = {0};
    int32_t *ids = NULL, *before = NULL;
    size_t n = 0, n_before = 0, from = 0;
    pn_buf_puts(&text, prompt);
    pn_buf_puts(&text, choice);
    int status = text.failed ? pn_cli_no_memory() : tokenize(t, text.data ? text.data : "", text.len, &ids, &n);
    if (status == PN_EXIT_DONE)
        status = tokenize(t, prompt, strlen(prompt), &before, &n_before);
    while (status == PN_EXIT_DONE && from < n && from < n_before && ids[from] == before[from])
        from++;
    from = from > 0 ? from : 1;
    if (status == PN_EXIT_DONE)
        status = continuation(t, ids, n, from, out);
    pantry_free(ids);
    pantry_free(before);
    pn_buf_free(&text);
    return status;
}

static int multiple_choice(struct tasks *t, const char *prompt, const json_t *choices, const json_t *answer)
{
    size_t n = json_array_size(choices), best = 0, best_by_length = 0;
    double most = 0, most_by_length = 0;
    if (n < 2 || n > MOST_CHOICES || !json_is_integer(answer) || json_integer_value(answer) < 0 ||
        (size_t)json_integer_value(answer) >= n)
        return bad_line(t, "needs 2 to 64 choices, and the index of the right one as its answer");
    for (size_t i = 0; i < n; i++) {
        const char *choice = json_string_value(json_array_get(choices, i));
        double score = 0;
        if (!choice || !*choice)
            return bad_line(t, "has a choice that is not a text");
        int status = score_choice(t, prompt, choice, &score);
        if (status != PN_EXIT_DONE)
            return status;
        double by_length = score / (double)strlen(choice);
        if (i == 0 || score > most) {
            most = score;
            best = i;
        }
        if (i == 0 || by_length > most_by_length) {
            most_by_length = by_length;
            best_by_length = i;
        }
    }
    t->choices.n++;
    t->choices.right += best == (size_t)json_integer_value(answer);
    t->choices.right_by_length += best_by_length == (size_t)json_integer_value(answer);
    return PN_EXIT_DONE;
}

static bool keep_token(void *user, const struct pantry_token *token)
{
    struct tasks *t = user;
    pn_buf_append(&t->answer, token->text, token->len);
    return true;
}

static int generation(struct tasks *t, const char *prompt, const char *expect)
{
    struct pantry_generate_options options = pantry_generate_options_default();
    struct pantry_error error = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    options.sampling.temperature = 0;
    options.sampling.repeat_penalty = 1;
    options.max_tokens = ANSWER_TOKENS;
    options.callback = keep_token;
    options.user = t;
    pn_buf_clear(&t->answer);
    int status = tokenize(t, prompt, strlen(prompt), &ids, &n);
    if (status == PN_EXIT_DONE && pantry_generate(t->session, ids, n, &options, NULL, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    pantry_free(ids);
    if (status != PN_EXIT_DONE)
        return status;
    t->generation.n++;
    t->generation.right += t->answer.len > 0 && strstr(t->answer.data, expect) != NULL;
    return PN_EXIT_DONE;
}

static int answer_line(struct tasks *t, const char *line, size_t len)
{
    json_error_t why;
    json_t *task = json_loadb(line, len, 0, &why);
    const char *prompt = json_string_value(json_object_get(task, "prompt"));
    const char *expect = json_string_value(json_object_get(task, "expect"));
    const json_t *choices = json_object_get(task, "choices");
    int status;
    if (!task)
        status = bad_line(t, "is not JSON");
    else if (prompt && *prompt && json_is_array(choices))
        status = multiple_choice(t, prompt, choices, json_object_get(task, "answer"));
    else if (prompt && *prompt && expect && *expect)
        status = generation(t, prompt, expect);
    else
        status = bad_line(t, "needs \"prompt\" and either \"choices\" with \"answer\" or \"expect\"");
    json_decref(task);
    return status;
}

/* The interval that has the true share in 95 of 100 cases: Wilson, 1927. */
static void interval(int right, int n, double *low, double *high)
{
    double z = 1.959964, share = (double)right / n, over = 1 + z * z / n;
    double middle = (share + z * z / (2.0 * n)) / over;
    double half = z * sqrt(share * (1 - share) / n + z * z / (4.0 * n * n)) / over;
    *low = middle - half;
    *high = middle + half;
}

static void put_score(const char *name, const char *key, const struct score *s, int right, json_t *results)
{
    double low, high;
    if (!s->n)
        return;
    interval(right, s->n, &low, &high);
    if (results)
        json_object_set_new(results, key,
                            json_pack("{s:i, s:i, s:f, s:f, s:f}", "n", s->n, "right", right, "share",
                                      (double)right / s->n, "low", low, "high", high));
    else
        printf("%-16s %.2f %% (%d of %d; 95 %%: %.2f to %.2f)\n", name, 100.0 * right / s->n, right, s->n, 100 * low,
               100 * high);
}

int pn_eval_tasks(const char *path, pantry_model *model, json_t *results)
{
    struct tasks t = {.path = path, .model = model};
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_session_options options = pantry_session_options_default();
    struct pantry_error error = {0};
    char *text = NULL;
    size_t len = 0;
    int status = pn_cli_read_file(path, FILE_LIMIT, &text, &len);
    if (status != PN_EXIT_DONE)
        return status;
    options.n_context = TASK_TOKENS + ANSWER_TOKENS;
    if (!pantry_model_tokenizer(model)) {
        pn_cli_say_error("the model has no tokenizer");
        status = PN_EXIT_FAILED;
    } else if (pantry_model_info(model, &info, &error) != PANTRY_OK ||
               pantry_session_new(model, &options, &t.session, &error) != PANTRY_OK) {
        status = pn_cli_fail(&error);
    }
    t.n_vocab = info.n_vocab;
    for (size_t at = 0; status == PN_EXIT_DONE && at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (text + at)) : len - at;
        t.line++;
        if (n > 0 && strspn(text + at, " \t\r") < n)
            status = answer_line(&t, text + at, n);
        at += n + 1;
    }
    if (status == PN_EXIT_DONE && !t.choices.n && !t.generation.n)
        status = bad_line(&t, "and those before have no task");
    if (status == PN_EXIT_DONE) {
        put_score("choices", "choices", &t.choices, t.choices.right, results);
        put_score("... by length", "choices_by_length", &t.choices, t.choices.right_by_length, results);
        put_score("generation", "generation", &t.generation, t.generation.right, results);
    }
    pantry_session_free(t.session);
    pn_buf_free(&t.answer);
    free(text);
    return status;
}
