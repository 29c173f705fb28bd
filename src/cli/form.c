/* The form of answers: see form.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/form.h"

#include "base/status.h"
#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SOURCE_LIMIT = 64 << 20 };

/* A regular expression may also be given itself, where no file has its name. */
static int read_source(struct pn_form *f, const char *given, bool is_regex)
{
    struct stat st;
    size_t len;
    if (is_regex && stat(given, &st) != 0) {
        f->text = strdup(given);
        return f->text ? PN_EXIT_DONE : pn_cli_no_memory();
    }
    int status = pn_cli_read_file(given, SOURCE_LIMIT, &f->text, &len);
    while (status == PN_EXIT_DONE && is_regex && len && f->text[len - 1] == '\n')
        f->text[--len] = '\0';
    return status;
}

int pn_cli_form_read(struct pn_cli_sampler *s)
{
    struct pn_form *f = &s->form;
    struct pantry_error error = {0};
    struct pantry_grammar_options options = pantry_grammar_options_default();
    int n = (f->schema != NULL) + (f->gbnf != NULL) + (f->regex != NULL);
    if (n > 1) {
        pn_cli_say_error("--json-schema, --grammar and --regex exclude each other");
        return PN_EXIT_USAGE;
    }
    if (!n)
        return PN_EXIT_DONE;
    const char *given = f->schema ? f->schema : f->gbnf ? f->gbnf : f->regex;
    options.closed = true;
    f->kind = f->schema ? PANTRY_GRAMMAR_SCHEMA : f->gbnf ? PANTRY_GRAMMAR_GBNF : PANTRY_GRAMMAR_REGEX;
    int status = read_source(f, given, f->regex != NULL);
    if (status == PN_EXIT_DONE &&
        pantry_grammar_new(f->kind, f->text, strlen(f->text), &options, &f->grammar, &error) != PANTRY_OK) {
        pn_fail_prefix(&error, "%.200s", given);
        status = pn_cli_fail(&error);
    }
    return status;
}

void pn_cli_form_free(struct pn_cli_sampler *s)
{
    pantry_grammar_free(s->form.grammar);
    free(s->form.text);
    s->form = (struct pn_form){0};
}
