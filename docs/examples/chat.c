/* The smallest use of the library: continue a text. cc chat.c $(pkg-config --cflags --libs pantry) */
#include <pantry.h>
#include <stdio.h>
#include <string.h>

static bool show(void *user, const struct pantry_token *token)
{
    return fwrite(token->text, 1, token->len, user) == token->len && fflush(user) == 0;
}

int main(int argc, char **argv)
{
    struct pantry_generate_options options = pantry_generate_options_default();
    struct pantry_error error = {0};
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    int32_t *ids = NULL;
    size_t n;
    options.max_tokens = 100, options.callback = show, options.user = stdout;
    bool ok = argc > 2 && !pantry_model_load(argv[1], NULL, &model, &error) &&
              !pantry_tokenize(pantry_model_tokenizer(model), argv[2], strlen(argv[2]), 0, &ids, &n, &error) &&
              !pantry_session_new(model, NULL, &session, &error) &&
              !pantry_generate(session, ids, n, &options, NULL, &error);
    puts(ok ? "" : argc > 2 ? error.text : "usage: chat MODEL.gguf TEXT");
    pantry_free(ids);
    pantry_session_free(session);
    pantry_model_free(model);
    return !ok;
}
