/* Fuzzes the compiler of JSON schemas: it ends with an error or with a grammar that judges texts. */
#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/schema.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {"{}", "[1,\"a\"]", "null", "-1.5", "{\"a\":{\"b\":[]}}", "\"x\""};
    struct pn_schema_options options = {0};
    struct pn_grammar *grammar = NULL;
    struct pantry_error err = {0};
    if (size == 0)
        return 0;
    options.space = data[0] % 3;
    options.closed = data[0] / 3 % 2;
    char *exact = malloc(size); /* of exactly this size */
    memcpy(exact, data + 1, size - 1);
    pantry_status status = pn_schema_compile_text(exact, size - 1, &options, &grammar, &err);
    if ((status == PANTRY_OK) != (grammar != NULL) || (status && !err.text[0]))
        abort();
    for (size_t i = 0; grammar && i < sizeof texts / sizeof *texts; i++) {
        bool accepted;
        if (pn_grammar_accepts(grammar, texts[i], strlen(texts[i]), &accepted, &err) == PANTRY_INTERNAL)
            abort();
    }
    pn_grammar_free(grammar);
    free(exact);
    return 0;
}
