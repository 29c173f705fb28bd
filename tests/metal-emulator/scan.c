/* Reads preprocessed Metal source for its kernels and takes out the attributes of their parameters, which become a
 * table at the end. The rest of the source stays as it is: it is C++ with words that metal_stdlib defines. */
#include "emulator.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A token; comments, blanks and lines of the preprocessor are skipped. */
struct token {
    char *start;
    size_t len;
};

static struct token next_token(char *p)
{
    for (;;) {
        while (isspace((unsigned char)*p))
            p++;
        if (*p != '#')
            break;
        p += strcspn(p, "\n");
    }
    char *start = p;
    if (isalnum((unsigned char)*p) || *p == '_') {
        while (isalnum((unsigned char)*p) || *p == '_' || *p == '.')
            p++;
    } else if (*p == '"' || *p == '\'') {
        char quote = *p++;
        while (*p && *p != quote)
            p += 1 + (*p == '\\' && p[1]);
        p += *p != 0;
    } else if (*p) {
        p++;
    }
    return (struct token){start, (size_t)(p - start)};
}

static struct token after(struct token t)
{
    return next_token(t.start + t.len);
}

static bool is(struct token t, const char *text)
{
    return t.len == strlen(text) && strncmp(t.start, text, t.len) == 0;
}

static const struct {
    const char *name;
    enum emu_kind kind;
} kinds[] = {
#define KIND(name)                                                                                                     \
    {                                                                                                                  \
#name, EMU_##name                                                                                              \
    }
    {"buffer", EMU_BUFFER},
    {"threadgroup", EMU_SHARED},
    KIND(thread_position_in_grid),
    KIND(threadgroup_position_in_grid),
    KIND(thread_position_in_threadgroup),
    KIND(thread_index_in_threadgroup),
    KIND(simdgroup_index_in_threadgroup),
    KIND(thread_index_in_simdgroup),
    KIND(threads_per_threadgroup),
    KIND(threadgroups_per_grid),
    KIND(simdgroups_per_threadgroup),
    KIND(threads_per_simdgroup),
    KIND(threads_per_grid),
#undef KIND
};

struct output {
    FILE *file;
    char *text;
    size_t len;
    int n_kernels;
    char *message;
};

static bool fail(struct output *out, const char *what, struct token t)
{
    if (!out->message && asprintf(&out->message, "Metal emulator: %s: '%.*s'", what, (int)t.len, t.start) < 0)
        abort();
    return false;
}

/* [[kind(index)]] from the token after the brackets on. */
static bool read_attribute(struct output *out, struct token t)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (is(t, kinds[i].name)) {
            int index = 0;
            struct token open = after(t);
            if (is(open, "("))
                index = atoi(after(open).start);
            if (index < 0 || index >= EMU_MAX_BINDINGS)
                return fail(out, "index of a parameter out of range", after(open));
            fprintf(out->file, "{%d,%d},", kinds[i].kind, index);
            return true;
        }
    return fail(out, "unknown attribute of a parameter", t);
}

/* The parameters of a kernel, from after its bracket on. Sets *end to the closing one. */
static bool read_parameters(struct output *out, struct token t, struct token *end)
{
    int depth = 0, n = 0;
    bool has_attribute = false;
    for (;; t = after(t)) {
        if (t.len == 0)
            return fail(out, "the parameters of a kernel do not end", t);
        if (is(t, "[") && is(after(t), "[")) {
            struct token first = t;
            if (!read_attribute(out, after(after(t))))
                return false;
            while (t.len && !(is(t, "]") && is(after(t), "]")))
                t = after(t);
            t = after(t);
            memset(first.start, ' ', (size_t)(t.start + t.len - first.start));
            has_attribute = true;
            n++;
            continue;
        }
        if (depth == 0 && (is(t, ",") || is(t, ")"))) {
            if (!has_attribute)
                return fail(out, "a parameter of a kernel has no attribute before", t);
            has_attribute = false;
            if (is(t, ")"))
                break;
        }
        depth += is(t, "(") - is(t, ")");
    }
    *end = t;
    return n > 0;
}

static bool read_kernel(struct output *out, struct token t, struct token *end)
{
    struct token name = after(after(t)), open = after(name);
    if (!is(after(t), "void") || !is(open, "("))
        return fail(out, "'kernel' without 'void name('", after(t));
    fprintf(out->file, "static const emu_parameter emu_p%d[] = {", out->n_kernels);
    if (!read_parameters(out, after(open), end))
        return false;
    fprintf(
        out->file,
        "};\nstatic __attribute__((no_sanitize(\"thread\"))) void emu_run%d(const emu_thread *t)"
        " { emulator::call(&::%.*s, t, emu_p%d); }\n#define EMU_K%d {\"%.*s\", emu_run%d, emu_p%d, sizeof emu_p%d / "
        "sizeof *emu_p%d},\n",
        out->n_kernels, (int)name.len, name.start, out->n_kernels, out->n_kernels, (int)name.len, name.start,
        out->n_kernels, out->n_kernels, out->n_kernels, out->n_kernels);
    out->n_kernels++;
    return true;
}

/* A variable in the group's memory: with a name, not a pointer or a reference. */
static bool is_variable(struct token t)
{
    for (t = after(t); t.len && !is(t, ";") && !is(t, "=") && !is(t, "[") && !is(t, "("); t = after(t))
        if (is(t, "*") || is(t, "&"))
            return false;
    return true;
}

char *emu_translate(const char *source, char **message)
{
    struct output out = {0};
    char *text = strdup(source), *result = NULL, semicolon[] = ";";
    out.file = open_memstream(&out.text, &out.len);
    if (!out.file || !text)
        abort();
    struct token before = {semicolon, 1};
    bool ok = true;
    for (struct token t = next_token(text); ok && t.len; before = t, t = after(t)) {
        if (is(t, "kernel"))
            ok = is(before, ">") ? fail(&out, "it does not know templates of kernels", after(after(t)))
                                 : read_kernel(&out, t, &t);
        else if (is(t, "threadgroup") && (is(before, ";") || is(before, "{") || is(before, "}")) && is_variable(t))
            ok = fail(&out, "it knows threadgroup memory only as an argument of kernels", after(after(t)));
    }
    fprintf(out.file, "extern \"C\" __attribute__((visibility(\"default\"))) const emu_kernel emu_kernels[] = {");
    for (int i = 0; i < out.n_kernels; i++)
        fprintf(out.file, "EMU_K%d ", i);
    fprintf(out.file, "{0, 0, 0, 0}};\n");
    fclose(out.file);
    if (ok && asprintf(&result, "#include \"metal_stdlib\"\n%s\n%s", text, out.text) < 0)
        abort();
    free(text);
    free(out.text);
    *message = out.message;
    return result;
}
