/* Fuzzes the reader of data sets for fine-tuning: the first byte chooses whether prompts are masked, the rest is the
 * file. */
#include "text/tokenizer/tokenizer_files.h"
#include "train/batch.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char words[] =
    "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Whitespace\"},"
    "\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"?\":0,\"a\":1},"
    "\"unk_token\":\"?\"}}";
static const char turns[] = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}{{ tools }}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pn_tokenizer *tokenizer;
    static struct pn_template *template;
    struct pn_train_data rows = {0};
    struct pn_train_batch batch;
    struct pantry_error err;
    if (!tokenizer && (pn_tokenizer_from_json(words, sizeof words - 1, NULL, NULL, &tokenizer, NULL) ||
                       pn_template_parse(turns, sizeof turns - 1, &template, NULL)))
        abort();
    if (size == 0)
        return 0;
    const struct pn_train_text how = {tokenizer, template, data[0] & 1};
    if (pn_train_data_parse("data", (const char *)data + 1, size - 1, &how, &rows, &err) && !err.text[0])
        abort();
    if (rows.len && !pn_train_batch_new(1, 40, &batch, &err)) {
        for (size_t i = 0; i < rows.len; i++) {
            pn_train_batch_fill(&batch, &rows, &i, 0, 1);
            if (batch.n_outputs > batch.n_tokens || batch.n_tokens > 39)
                abort();
        }
        pn_train_batch_free(&batch);
    }
    pn_train_data_free(&rows);
    return 0;
}
