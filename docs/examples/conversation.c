/* A chat: asks a model one question after another, by its name or path, and shows the answers without their reasoning.
 * cc conversation.c $(pkg-config --cflags --libs pantry jansson) */
#include <jansson.h>
#include <pantry.h>
#include <stdio.h>
#include <string.h>

struct answer {
    char content[65536];
    size_t len;
};

static void take(void *user, const struct pantry_parse_event *event)
{
    struct answer *answer = user;
    if (event->kind != PANTRY_PARSE_CONTENT || answer->len + event->len >= sizeof answer->content)
        return;
    memcpy(answer->content + answer->len, event->text, event->len + 1);
    answer->len += event->len;
    fwrite(event->text, 1, event->len, stdout);
    fflush(stdout);
}

/* Reads the tokens of a request into the parser. */
static bool receive(pantry_request *request, pantry_parser *parser, struct pantry_error *error)
{
    const struct pantry_event *event;
    while ((event = pantry_request_next(request, -1))->kind == PANTRY_EVENT_TOKEN)
        if (pantry_parser_push(parser, event->token->text, event->token->len, error))
            return false;
    if (event->status)
        snprintf(error->text, sizeof error->text, "%s", event->message);
    return !event->status && !pantry_parser_finish(parser, error);
}

static bool answer_to(pantry_model *model, json_t *messages, struct answer *answer, struct pantry_error *error)
{
    pantry_prompt *prompt = NULL;
    pantry_parser *parser = NULL;
    pantry_request *request = NULL;
    char *text = NULL;
    size_t len, source_len;
    const char *source = pantry_model_template(model, &source_len);
    json_t *context = json_pack("{s:O, s:b}", "messages", messages, "add_generation_prompt", 1);
    char *json = json_dumps(context, 0);
    struct pantry_request_options options = pantry_request_options_default();
    options.max_tokens = 200, options.sampling.temperature = 0, options.control_tokens = true;
    bool ok =
        !pantry_prompt_chat(model, json, &prompt, &text, &len, error) &&
        !pantry_parser_new(source, source_len, json, text, len, 0, PANTRY_TOOL_AUTO, take, answer, &parser, error);
    if (ok) {
        options.ids = pantry_prompt_ids(prompt, &options.n_ids), options.prompt = prompt;
        ok = !pantry_submit(model, &options, &request, error) && receive(request, parser, error);
    }
    pantry_request_free(request);
    pantry_parser_free(parser);
    pantry_prompt_free(prompt);
    pantry_free(text);
    free(json);
    json_decref(context);
    return ok;
}

int main(int argc, char **argv)
{
    static struct answer answer;
    struct pantry_error error = {0};
    pantry_stored *stored = NULL;
    pantry_model *model = NULL;
    struct pantry_model_options options = pantry_model_options_default();
    json_t *messages = json_array();
    bool ok = argc > 2 && !pantry_find(argv[1], true, NULL, NULL, NULL, &stored, &error);
    if (ok) {
        options.chat_template = pantry_stored_template(stored);
        options.default_chat_template = pantry_stored_default_template(stored);
        options.maybe_projector = pantry_stored_projector(stored);
        ok = !pantry_model_load(pantry_stored_path(stored), &options, &model, &error);
    }
    for (int i = 2; i < argc && ok; i++) {
        answer.len = 0;
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user", "content", argv[i]));
        printf(">>> %s\n", argv[i]);
        ok = answer_to(model, messages, &answer, &error);
        puts("");
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "assistant", "content", answer.content));
    }
    if (!ok)
        puts(argc > 2 ? error.text : "usage: conversation MODEL QUESTION...");
    json_decref(messages);
    pantry_model_free(model);
    pantry_stored_free(stored);
    return !ok;
}
