/* An answer that obeys a JSON schema, whatever the model would say.
 * cc structured.c $(pkg-config --cflags --libs pantry) */
#include <pantry.h>
#include <stdio.h>
#include <string.h>

static const char schema[] =
    "{\"type\": \"object\", \"required\": [\"city\", \"country\", \"large\"], \"properties\": {"
    "\"city\": {\"type\": \"string\", \"maxLength\": 24},"
    "\"country\": {\"type\": \"string\", \"maxLength\": 24},"
    "\"large\": {\"type\": \"boolean\"}}}";

struct answer {
    char text[4096];
    size_t len;
};

static bool keep(void *user, const struct pantry_token *token)
{
    struct answer *answer = user;
    if (answer->len + token->len >= sizeof answer->text)
        return false;
    memcpy(answer->text + answer->len, token->text, token->len + 1);
    answer->len += token->len;
    return true;
}

int main(int argc, char **argv)
{
    static struct answer answer;
    struct pantry_error error = {.text = "usage: structured MODEL TEXT"};
    struct pantry_grammar_options strict = pantry_grammar_options_default();
    struct pantry_generate_options options = pantry_generate_options_default();
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    pantry_grammar *grammar = NULL;
    int32_t *ids = NULL;
    size_t n;
    bool accepted = false;
    strict.closed = true; /* no further properties */
    bool ok = argc > 2 && !pantry_model_load(argv[1], NULL, &model, &error) &&
              !pantry_grammar_new(PANTRY_GRAMMAR_SCHEMA, schema, strlen(schema), &strict, &grammar, &error) &&
              !pantry_tokenize(pantry_model_tokenizer(model), argv[2], strlen(argv[2]), PANTRY_TOKENIZE_BOS, &ids, &n,
                               &error) &&
              !pantry_session_new(model, NULL, &session, &error);
    options.grammar = grammar, options.callback = keep, options.user = &answer, options.sampling.temperature = 0;
    ok = ok && !pantry_generate(session, ids, n, &options, NULL, &error) &&
         !pantry_grammar_accepts(grammar, answer.text, answer.len, &accepted, &error);
    puts(ok ? answer.text : error.text);
    pantry_free(ids);
    pantry_session_free(session);
    pantry_grammar_free(grammar);
    pantry_model_free(model);
    return !(ok && accepted);
}
