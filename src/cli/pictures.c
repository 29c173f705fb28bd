/* Prompts with pictures: see pictures.h. */
#include "cli/pictures.h"

#include "cli/model.h"
#include "cli/say.h"
#include "cli/template.h"

#include <stdlib.h>

int pn_pictures_read(const struct pn_text_list *files, struct pn_picture_files *out)
{
    *out = (struct pn_picture_files){0};
    for (; out->n < files->n; out->n++) {
        char *data = NULL;
        struct pantry_picture *picture = &out->picture[out->n];
        int status = pn_cli_read_file(files->item[out->n], PN_PICTURE_LIMIT, &data, &picture->len);
        if (status != PN_EXIT_DONE)
            return status;
        picture->data = data;
    }
    return PN_EXIT_DONE;
}

void pn_pictures_free(struct pn_picture_files *files)
{
    for (size_t i = 0; i < files->n; i++)
        free((void *)(uintptr_t)files->picture[i].data);
    *files = (struct pn_picture_files){0};
}

int pn_cli_context_prompt(pantry_model *model, const char *context_file, const struct pn_text_list *files,
                          pantry_prompt **prompt)
{
    struct pn_picture_files pictures;
    struct pantry_error error = {0};
    char *context = NULL, *text = NULL;
    size_t context_len, len = 0;
    *prompt = NULL;
    int status = pn_pictures_read(files, &pictures);
    if (status == PN_EXIT_DONE)
        status = pn_cli_read_file(context_file, PN_CONTEXT_LIMIT, &context, &context_len);
    if (status == PN_EXIT_DONE && pantry_model_render(model, context, &text, &len, &error) != PANTRY_OK)
        status = pn_cli_template_fail(&error);
    if (status == PN_EXIT_DONE && pantry_prompt_new(model, text, len, PANTRY_TOKENIZE_SPECIAL | PANTRY_TOKENIZE_BOS,
                                                    pictures.picture, pictures.n, prompt, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    pantry_free(text);
    free(context);
    pn_pictures_free(&pictures);
    return status;
}
