/* pantry search: find models. */
#include "cli/commands.h"

#include "base/size.h"
#include "cli/model.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

struct chosen {
    bool hub, json;
    int limit;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("hub", offsetof(struct chosen, hub), "search Hugging Face, too"),
    PN_OPT_INT("limit", "N", offsetof(struct chosen, limit), 1, 100, "most results of Hugging Face", .letter = 'n'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print the results as JSON"),
};

static void put_catalog(const char *words, json_t *list, size_t *n)
{
    size_t n_entries;
    const struct pn_catalog_entry *entry = pn_store_catalog(&n_entries);
    for (size_t i = 0; i < n_entries; i++) {
        if (!pn_store_matches(&entry[i], words))
            continue;
        if (list)
            json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:s, s:s}", "name", entry[i].name, "source",
                                                  "catalog", "size", (json_int_t)entry[i].bytes, "license",
                                                  entry[i].license, "summary", entry[i].summary));
        else if (!(*n)++)
            printf("%-24s %7s  %-19s %s\n", "NAME", "SIZE", "LICENSE", "WHAT");
        if (!list)
            printf("%-24s %7s  %-19s %s\n", entry[i].name, pn_size(entry[i].bytes).text, entry[i].license,
                   entry[i].summary);
    }
}

static void put_found(const struct pn_found *found, size_t n_found, json_t *list, size_t *n)
{
    struct pn_number downloads, likes;
    for (size_t i = 0; i < n_found; i++) {
        const struct pn_found *f = &found[i];
        if (list) {
            json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:s, s:b}", "name", f->name, "source", "hub",
                                                  "downloads", (json_int_t)f->downloads, "likes", (json_int_t)f->likes,
                                                  "updated", f->updated, "gated", f->gated));
            continue;
        }
        if (i == 0)
            printf("%s%-60s %10s %7s  %s\n", *n ? "\n" : "", "HUGGING FACE", "DOWNLOADS", "LIKES", "UPDATED");
        printf("%-60s %10s %7s  %s%s\n", f->name, pn_cli_count(&downloads, f->downloads),
               pn_cli_count(&likes, f->likes), f->updated, f->gated ? "  needs an account (HF_TOKEN)" : "");
        ++*n;
    }
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.limit = 20};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (!arguments.n)
        return pn_cli_misuse(command, "search needs WORDS");
    struct pantry_error err = {0};
    struct pn_found *found = NULL;
    size_t n = 0, n_found = 0, len;
    char *words = NULL;
    if ((status = pn_cli_join(arguments.text, (size_t)arguments.n, &words, &len)) != PN_EXIT_DONE)
        return status;
    pn_term_watch();
    json_t *list = chosen.json ? json_array() : NULL;
    if (chosen.hub && pn_store_search_hub(words, (size_t)chosen.limit, pn_term_interrupt(), &found, &n_found, &err))
        status = pn_cli_fail(&err);
    if (status == PN_EXIT_DONE) {
        put_catalog(words, list, &n);
        put_found(found, n_found, list, &n);
        if (!list && !n)
            fprintf(stderr, "no model %s\n",
                    chosen.hub ? "was found" : "of the catalog has these words; --hub searches Hugging Face");
    }
    if (list && status == PN_EXIT_DONE)
        status = pn_cli_put_json(list);
    else
        json_decref(list);
    pn_store_found_free(found, n_found);
    free(words);
    if (pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status;
}

const struct pn_command pn_cmd_search = {
    .name = "search",
    .usage = "WORDS... [--hub]",
    .summary = "find models by words, in the catalog and on Hugging Face",
    .about =
        "Searches the names, summaries, families and licences of the catalog, which needs no network. With `--hub`\n"
        "also Hugging Face's repositories with GGUF files, the most downloaded first.",
    .example = "pantry search coder\n"
               "pantry search --hub qwen3 8b",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
