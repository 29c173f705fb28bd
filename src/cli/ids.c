/* Lists of token ids: see ids.h. */
#include "cli/ids.h"

#include "base/alloc.h"
#include "cli/options.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>

struct ids {
    int32_t *data;
    size_t len, cap;
};

static bool is_separator(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == ',' || c == '[' || c == ']';
}

int pn_ids_parse(const char *name, const char *text, size_t len, int32_t **ids, size_t *n)
{
    struct ids list = {0};
    for (size_t i = 0; i < len;) {
        if (is_separator(text[i])) {
            i++;
            continue;
        }
        char number[16];
        size_t digits = 0;
        while (i + digits < len && !is_separator(text[i + digits]) && digits < sizeof number - 1) {
            number[digits] = text[i + digits];
            digits++;
        }
        number[digits] = '\0';
        int value;
        if (!pn_cli_parse_int(number, 0, INT32_MAX, &value)) {
            pn_cli_say_error("%s: id %zu is wrong (found \"%s\", allowed whole numbers from 0)", name, list.len + 1,
                             number);
            free(list.data);
            return PN_EXIT_FAILED;
        }
        if (!pn_vec_push(&list, value)) {
            free(list.data);
            return pn_cli_no_memory();
        }
        i += digits;
    }
    *ids = list.data;
    *n = list.len;
    return PN_EXIT_DONE;
}

json_t *pn_ids_json(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++) {
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}
