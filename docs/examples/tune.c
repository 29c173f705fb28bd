/* Fine-tuning: trains an adapter on rows of JSON, and uses it. cc tune.c $(pkg-config --cflags --libs pantry) */
#include <pantry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool show(void *user, const struct pantry_tune_event *event)
{
    (void)user;
    if (event->kind == PANTRY_TUNE_STEP)
        printf("%d of %d: loss %.3f\n", event->iter, event->n_iters, event->loss);
    return true; /* false ends the training */
}

static bool print(void *user, const struct pantry_token *token)
{
    return fwrite(token->text, 1, token->len, user) == token->len;
}

/* Continues a text with the adapter. */
static bool use(const char *path, const char *adapter, const char *text, struct pantry_error *error)
{
    const char *const adapters[] = {adapter, NULL};
    struct pantry_model_options with = pantry_model_options_default();
    struct pantry_generate_options options = pantry_generate_options_default();
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    int32_t *ids = NULL;
    size_t n;
    with.adapters = adapters;
    options.max_tokens = 16, options.sampling.temperature = 0, options.callback = print, options.user = stdout;
    bool ok =
        !pantry_model_load(path, &with, &model, error) &&
        !pantry_tokenize(pantry_model_tokenizer(model), text, strlen(text), PANTRY_TOKENIZE_BOS, &ids, &n, error) &&
        !pantry_session_new(model, NULL, &session, error) && !pantry_generate(session, ids, n, &options, NULL, error);
    puts("");
    pantry_free(ids);
    pantry_session_free(session);
    pantry_model_free(model);
    return ok;
}

int main(int argc, char **argv)
{
    struct pantry_error error = {.text = "usage: tune MODEL ROWS.jsonl ADAPTER-FOLDER [ITERATIONS]"};
    struct pantry_tune_options options = pantry_tune_options_default();
    bool ok = argc > 3;
    if (ok) {
        options.data = argv[2], options.adapter_path = argv[3], options.iters = argc > 4 ? atoi(argv[4]) : 100;
        options.batch_size = 1, options.n_layers = 2, options.callback = show;
        ok = !pantry_tune(argv[1], &options, &error) && use(argv[1], argv[3], "Hello", &error);
    }
    if (!ok)
        puts(error.text);
    return !ok;
}
