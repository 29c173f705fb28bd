/* Texts of commands: see lines.h. */
#include "cli/lines.h"

#include "base/alloc.h"
#include "cli/ids.h"
#include "cli/model.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

enum { LINES_LIMIT = 1 << 30 };

struct list {
    struct pantry_input *data;
    size_t len, cap;
};

static bool add(struct list *list, const char *text, size_t len)
{
    if (len && text[len - 1] == '\r')
        len--;
    return len == 0 || pn_vec_push(list, ((struct pantry_input){.text = text, .len = len}));
}

static bool split(struct list *list, const char *bytes, size_t len)
{
    bool ok = true;
    for (size_t at = 0; at < len && ok;) {
        const char *end = memchr(bytes + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (bytes + at)) : len - at;
        ok = add(list, bytes + at, n);
        at += n + 1;
    }
    return ok;
}

/* Parses texts that are lists of ids. */
static int read_ids(struct pn_lines *out)
{
    struct {
        int32_t *data;
        size_t len, cap;
    } all = {0};
    int status = PN_EXIT_DONE;
    for (size_t i = 0; i < out->n && status == PN_EXIT_DONE; i++) {
        struct pantry_input *in = &out->input[i];
        int32_t *ids = NULL;
        status = pn_ids_parse("the ids", in->text, in->len, &ids, &in->n_ids);
        for (size_t k = 0; status == PN_EXIT_DONE && k < in->n_ids; k++)
            if (!pn_vec_push(&all, ids[k]))
                status = pn_cli_no_memory();
        free(ids);
    }
    size_t at = 0;
    for (size_t i = 0; i < out->n && status == PN_EXIT_DONE; i++) {
        out->input[i].text = NULL;
        out->input[i].ids = all.data + at;
        at += out->input[i].n_ids;
    }
    out->ids = all.data;
    return status;
}

int pn_lines_read(char *const *words, size_t n_words, const char *file, bool ids, struct pn_lines *out)
{
    struct list list = {0};
    int status = PN_EXIT_DONE;
    bool ok = true;
    *out = (struct pn_lines){0};
    for (size_t i = 0; i < n_words && ok; i++)
        ok = pn_vec_push(&list, ((struct pantry_input){.text = words[i], .len = strlen(words[i])}));
    if (!n_words) {
        size_t len = 0;
        status = pn_cli_read_file(file ? file : "-", LINES_LIMIT, &out->bytes, &len);
        if (status == PN_EXIT_DONE)
            ok = split(&list, out->bytes, len);
    }
    if (!ok)
        status = pn_cli_no_memory();
    out->input = list.data;
    out->n = list.len;
    if (status == PN_EXIT_DONE && ids)
        status = read_ids(out);
    if (status == PN_EXIT_DONE && !out->n) {
        pn_cli_say_error("no text (give TEXTs, --file FILE, or lines on standard input)");
        status = PN_EXIT_FAILED;
    }
    if (status != PN_EXIT_DONE)
        pn_lines_free(out);
    return status;
}

void pn_lines_free(struct pn_lines *lines)
{
    free(lines->input);
    free(lines->bytes);
    free(lines->ids);
    *lines = (struct pn_lines){0};
}
