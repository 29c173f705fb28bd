/* Template sources: see template.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/template.h"

#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>

const struct pn_option pn_template_options[PN_N_TEMPLATE_OPTIONS] = {
    PN_OPT_TEXT("template", "FILE", offsetof(struct pn_template_choice, template_file),
                "use this Jinja template instead of a model's"),
    PN_OPT_TEXT("context", "FILE", offsetof(struct pn_template_choice, context_file),
                "JSON object of the template's variables; -: standard input"),
};

/* A file with only a vocabulary has a template too, so this reads the description instead of loading the model. */
static int source_of_model(const char *name, char **source, size_t *len)
{
    char *path = NULL, *text = NULL;
    struct pantry_error error = {0};
    struct pn_carried carried = {0};
    json_t *root = NULL;
    int status = pn_cli_find_model(name, &path);
    if (status == PN_EXIT_DONE &&
        (pn_carried_find(name, &carried, &error) != PANTRY_OK || pantry_describe(path, &text, &error) != PANTRY_OK))
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE) {
        root = json_loads(text, JSON_ALLOW_NUL, NULL);
        const char *used = pn_carried_template(&carried, json_string_value(json_object_get(root, "template")));
        if (used)
            json_object_set_new(root, "template", json_string(used));
        json_t *value = json_object_get(root, "template");
        if (!json_is_string(value)) {
            pn_cli_say_error("%s has no chat template", name);
            status = PN_EXIT_FAILED;
        } else {
            *len = json_string_length(value);
            *source = strndup(json_string_value(value), *len);
            status = *source ? PN_EXIT_DONE : pn_cli_no_memory();
        }
    }
    json_decref(root);
    pn_carried_free(&carried);
    pantry_free(text);
    free(path);
    return status;
}

int pn_cli_template_source(const struct pn_template_choice *choice, const char *name, char **source, size_t *len)
{
    if (choice->template_file)
        return pn_cli_read_file(choice->template_file, PN_TEMPLATE_LIMIT, source, len);
    return source_of_model(name, source, len);
}

int pn_cli_template_fail(const struct pantry_error *error)
{
    if (error->status != PANTRY_RAISED)
        return pn_cli_fail(error);
    fflush(stdout);
    fputs("template error: ", stderr);
    pn_cli_put_untrusted(stderr, error->text, strlen(error->text));
    fputc('\n', stderr);
    return PN_EXIT_FAILED;
}
