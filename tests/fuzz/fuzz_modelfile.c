/* Fuzzes Modelfiles: what is accepted is within its bounds, and reads back as it was when it is written out. */
#include "store/modelfile.h"
#include "store/parameters.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No quotes can hold a line that ends with the quotes. */
static int can_be_written(const char *value)
{
    return !strstr(value, "\"\"\"") && !strstr(value, "\"\n") && !strstr(value, "\" ") && !strstr(value, "\"\t") &&
           !strstr(value, "\"\r");
}

static void write_and_read(const struct pn_modelfile_line *line)
{
    struct pn_buf text = {0};
    struct pn_modelfile again;
    pn_modelfile_put(&text, line->kind, line->name, line->value);
    pn_modelfile_put(&text, PN_MODELFILE_FROM, NULL, "x");
    if (text.failed || pn_modelfile_parse("again", text.data, text.len, &again, NULL))
        abort();
    if (again.len != 2 || again.data[0].kind != line->kind || strcmp(again.data[0].value, line->value) != 0 ||
        (line->name && strcmp(again.data[0].name, line->name) != 0))
        abort();
    pn_modelfile_free(&again);
    pn_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_modelfile m;
    struct pantry_error err;
    char *exact = malloc(size ? size : 1); /* of exactly this size */
    if (size)
        memcpy(exact, data, size);
    if (pn_modelfile_parse("fuzz", exact, size, &m, &err) == PANTRY_OK) {
        json_t *params = json_object();
        if (!m.len || m.len > PN_MODELFILE_LINES)
            abort();
        for (size_t i = 0; i < m.len; i++) {
            struct pn_parameters p = {0};
            if (can_be_written(m.data[i].value))
                write_and_read(&m.data[i]);
            if (m.data[i].kind == PN_MODELFILE_PARAMETER &&
                pn_parameters_add(params, m.data[i].name, m.data[i].value, NULL) == PANTRY_OK &&
                pn_parameters_read(params, &p, NULL) != PANTRY_OK)
                abort();
        }
        json_decref(params);
        pn_modelfile_free(&m);
    }
    free(exact);
    return 0;
}
