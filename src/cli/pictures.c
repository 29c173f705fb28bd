/* Prompts with pictures: see pictures.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/pictures.h"

#include "base/base64.h"
#include "cli/model.h"
#include "cli/say.h"
#include "cli/template.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

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

/* ---- pictures in messages ---- */

int pn_picture_part(const char *file, json_t **part)
{
    char *data = NULL;
    size_t len;
    struct pn_buf text = {0};
    int status = pn_cli_read_file(file, PN_PICTURE_LIMIT, &data, &len);
    if (status != PN_EXIT_DONE)
        return status;
    pn_base64_encode(data, len, &text);
    free(data);
    *part =
        text.failed ? NULL : json_pack("{s:s, s:s%}", "type", "image", "data", text.data ? text.data : "", text.len);
    pn_buf_free(&text);
    return *part ? PN_EXIT_DONE : pn_cli_no_memory();
}

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Whether a path ends like a picture's, and its file exists. */
static bool is_picture(const char *path)
{
    static const char *const ends[] = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"};
    struct stat st;
    size_t n = strlen(path);
    bool known = false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && !known; i++)
        known = n > strlen(ends[i]) && strcasecmp(path + n - strlen(ends[i]), ends[i]) == 0;
    return known && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

size_t pn_picture_path(const char *text, size_t len, struct pn_buf *path)
{
    size_t at = 0;
    char quote = len && (*text == '"' || *text == '\'') ? *text : 0;
    pn_buf_clear(path);
    for (at = quote ? 1 : 0; at < len && (quote ? text[at] != quote : !is_white(text[at])); at++) {
        if (!quote && text[at] == '\\' && at + 1 < len)
            at++;
        pn_buf_putc(path, text[at]);
    }
    if (!path->len || (quote && at == len))
        return 0;
    at += quote ? 1 : 0;
    if (is_picture(path->data))
        return at;
    /* A sentence may end after it. */
    if (quote || path->len < 2 || !strchr(".,;:!?)", path->data[path->len - 1]))
        return 0;
    path->data[--path->len] = '\0';
    return is_picture(path->data) ? at - 1 : 0;
}
