/* Prints everything that the GGUF reader says about a file, a line an item, for gguf_reader.py to compare. */
#include "format/weights.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const kinds[] = {"uint", "int", "float", "bool", "string", "array"};

static void print_string(struct pn_str s)
{
    for (size_t i = 0; i < s.len; i++)
        printf("%02x", (unsigned char)s.data[i]);
}

static void print_item(const struct pn_meta *m, enum pn_meta_type kind, size_t i)
{
    switch (kind) {
    case PN_META_UINT:
        printf(" %" PRIu64, pn_meta_item_u64(m, i));
        break;
    case PN_META_INT:
        printf(" %" PRId64, pn_meta_item_i64(m, i));
        break;
    case PN_META_FLOAT:
        printf(" %a", pn_meta_item_f64(m, i));
        break;
    case PN_META_BOOL:
        printf(" %d", pn_meta_item_bool(m, i));
        break;
    default:
        putchar(' ');
        print_string(pn_meta_item_str(m, i));
    }
}

static void print_meta(const struct pn_meta *m)
{
    printf("meta %s %s", m->key, kinds[m->type]);
    switch (m->type) {
    case PN_META_UINT:
        printf("%u %" PRIu64, m->width * 8, m->u);
        break;
    case PN_META_INT:
        printf("%u %" PRId64, m->width * 8, m->i);
        break;
    case PN_META_FLOAT:
        printf("%u %a", m->width * 8, m->f);
        break;
    case PN_META_BOOL:
        printf("8 %d", m->b);
        break;
    case PN_META_STRING:
        printf("0 ");
        print_string(m->s);
        break;
    case PN_META_ARRAY:
        printf(" %s%u %zu", kinds[m->item], m->width * 8, m->n);
        for (size_t i = 0; i < m->n; i++)
            print_item(m, m->item, i);
        break;
    }
    putchar('\n');
}

int main(int argc, char **argv)
{
    struct pn_weights *w;
    struct pantry_error err;
    if (argc != 2 || pn_weights_inspect(argv[1], &w, &err)) {
        fprintf(stderr, "%s\n", argc == 2 ? err.text : "usage: gguf_dump FILE");
        return 1;
    }
    printf("format %s\n", w->format);
    for (size_t i = 0; i < w->n_meta; i++)
        print_meta(&w->meta[i]);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct pn_tensor_info *t = &w->tensors[i];
        printf("tensor %s %" PRIu32, t->name, t->number);
        for (int d = 0; d < t->n_dims; d++)
            printf(" %" PRId64, t->shape[d]);
        if (t->data) {
            const unsigned char *data = t->data;
            uint64_t hash = 14695981039346656037u; /* FNV-1a of at most the first and last KiB */
            for (size_t k = 0; k < t->bytes; k++) {
                if (k == 1024 && t->bytes > 2048)
                    k = t->bytes - 1024;
                hash = (hash ^ data[k]) * 1099511628211u;
            }
            printf(" : %zu %zu %" PRIx64, (size_t)(data - w->maps[t->map].data), t->bytes, hash);
        }
        putchar('\n');
    }
    pn_weights_close(w);
    return 0;
}
