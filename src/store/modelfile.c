/* Modelfiles: see modelfile.h. */
#define _POSIX_C_SOURCE 200809L
#include "store/modelfile.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const instructions[] = {
    [PN_MODELFILE_FROM] = "FROM",         [PN_MODELFILE_PARAMETER] = "PARAMETER",
    [PN_MODELFILE_TEMPLATE] = "TEMPLATE", [PN_MODELFILE_SYSTEM] = "SYSTEM",
    [PN_MODELFILE_ADAPTER] = "ADAPTER",   [PN_MODELFILE_LICENSE] = "LICENSE",
    [PN_MODELFILE_MESSAGE] = "MESSAGE",   [PN_MODELFILE_DRAFT] = "DRAFT",
    [PN_MODELFILE_REQUIRES] = "REQUIRES", [PN_MODELFILE_RENDERER] = "RENDERER",
    [PN_MODELFILE_PARSER] = "PARSER",     [PN_MODELFILE_CAPABILITY] = "CAPABILITY",
};
enum { N_INSTRUCTIONS = sizeof instructions / sizeof *instructions };

const char *pn_modelfile_instruction(enum pn_instruction kind)
{
    return instructions[kind];
}

/* ---- reading ---- */

struct reader {
    const char *file, *at, *end;
    int line;
    struct pn_modelfile *out;
    struct pantry_error *err;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void skip_spaces(struct reader *r)
{
    while (r->at < r->end && is_space(*r->at))
        r->at++;
}

static const char *line_end(const struct reader *r, const char *from)
{
    const char *newline = memchr(from, '\n', (size_t)(r->end - from));
    return newline ? newline : r->end;
}

/* Letters, digits and '_'; *n is their number, which is small for every word that means something. */
static const char *take_word(struct reader *r, int *n)
{
    const char *word = r->at;
    while (r->at < r->end && is_word(*r->at))
        r->at++;
    *n = r->at - word > 60 ? 60 : (int)(r->at - word);
    return word;
}

/* The value from `start` to `end` without white space around it and `quotes` characters less at both ends. */
static pantry_status take_value(struct reader *r, const char *start, const char *end, size_t quotes, const char **value)
{
    size_t n = (size_t)(end - start) - 2 * quotes;
    if (memchr(start, '\0', (size_t)(end - start)))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: line %d: a NUL in the value", r->file, r->line);
    *value = pn_arena_copy(&r->out->arena, start + quotes, n);
    return *value ? PANTRY_OK : pn_no_memory(r->err, r->file);
}

static const char *trim_end(const char *start, const char *end)
{
    while (end > start && is_space(end[-1]))
        end--;
    return end;
}

/* Leaves the reader at the end of the value's last line. */
static pantry_status read_value(struct reader *r, const char **value)
{
    skip_spaces(r);
    const char *start = r->at, *end = line_end(r, start), *text_end = trim_end(start, end);
    size_t quotes = 0;
    if (text_end - start >= 3 && memcmp(start, "\"\"\"", 3) == 0)
        quotes = 3;
    else if (text_end - start >= 1 && *start == '"')
        quotes = 1;
    int first = r->line;
    while (quotes && ((size_t)(text_end - start) < 2 * quotes || memcmp(text_end - quotes, "\"\"\"", quotes) != 0)) {
        if (end == r->end)
            return pn_fail(r->err, PANTRY_FORMAT,
                           "%s: line %d: the quotes have no end (%s must be the last characters of a line)", r->file,
                           first, quotes == 3 ? "\"\"\"" : "\"");
        r->line++;
        end = line_end(r, end + 1);
        text_end = trim_end(start, end);
    }
    r->at = end;
    return take_value(r, start, text_end, quotes, value);
}

static pantry_status unknown_instruction(const struct reader *r, const char *word, int n)
{
    return pn_fail(r->err, PANTRY_FORMAT,
                   "%s: line %d: unknown instruction (found \"%.*s\", allowed FROM, PARAMETER, TEMPLATE, SYSTEM, "
                   "ADAPTER, LICENSE, MESSAGE, DRAFT, REQUIRES)",
                   r->file, r->line, n, word);
}

static pantry_status find_instruction(struct reader *r, enum pn_instruction *kind)
{
    int n;
    const char *word = take_word(r, &n);
    size_t i = 0;
    while (i < N_INSTRUCTIONS &&
           !(strlen(instructions[i]) == (size_t)(r->at - word) && strncasecmp(instructions[i], word, (size_t)n) == 0))
        i++;
    if (i == N_INSTRUCTIONS || (r->at < r->end && !is_space(*r->at) && *r->at != '\n'))
        return unknown_instruction(r, word, n ? n : 1);
    *kind = (enum pn_instruction)i;
    return PANTRY_OK;
}

/* The parameter's name or the message's role. */
static pantry_status read_name(struct reader *r, enum pn_instruction kind, const char **name)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    int n;
    skip_spaces(r);
    const char *word = take_word(r, &n);
    if (!n || (r->at < r->end && !is_space(*r->at) && *r->at != '\n'))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: line %d: %s needs a %s and a value", r->file, r->line,
                       instructions[kind], kind == PN_MODELFILE_PARAMETER ? "parameter's name" : "role");
    char *text = pn_arena_copy(&r->out->arena, word, (size_t)(r->at - word));
    if (!text)
        return pn_no_memory(r->err, r->file);
    for (char *c = text; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    *name = text;
    bool known = kind == PN_MODELFILE_PARAMETER;
    for (size_t i = 0; i < 3 && !known; i++)
        known = strcmp(text, roles[i]) == 0;
    return known ? PANTRY_OK
                 : pn_fail(r->err, PANTRY_FORMAT,
                           "%s: line %d: unknown role (found \"%.60s\", allowed system, user, assistant)", r->file,
                           r->line, text);
}

/* A value may be empty where that means "none". */
static bool may_be_empty(enum pn_instruction kind)
{
    return kind == PN_MODELFILE_SYSTEM || kind == PN_MODELFILE_TEMPLATE || kind == PN_MODELFILE_LICENSE;
}

static pantry_status read_instruction(struct reader *r)
{
    struct pn_modelfile_line line = {.line = r->line};
    pantry_status status = find_instruction(r, &line.kind);
    if (!status && (line.kind == PN_MODELFILE_PARAMETER || line.kind == PN_MODELFILE_MESSAGE))
        status = read_name(r, line.kind, &line.name);
    if (!status)
        status = read_value(r, &line.value);
    if (status)
        return status;
    if (!*line.value && !may_be_empty(line.kind))
        return pn_fail(r->err, PANTRY_FORMAT, "%s: line %d: %s needs a value", r->file, line.line,
                       instructions[line.kind]);
    if (r->out->len == PN_MODELFILE_LINES)
        return pn_fail(r->err, PANTRY_LIMIT, "%s: line %d: too many instructions (allowed %d)", r->file, line.line,
                       PN_MODELFILE_LINES);
    return pn_vec_push(r->out, line) ? PANTRY_OK : pn_no_memory(r->err, r->file);
}

static pantry_status check_encoding(const char *file, const char *text, size_t n, struct pantry_error *err)
{
    if (n > PN_MODELFILE_MAX)
        return pn_fail(err, PANTRY_LIMIT, "%s: too long (found %zu bytes, allowed %d)", file, n, PN_MODELFILE_MAX);
    if (n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return pn_fail(err, PANTRY_FORMAT, "%s: is UTF-16; save it as UTF-8", file);
    json_t *checked = json_stringn(text, n);
    json_decref(checked);
    return checked ? PANTRY_OK : pn_fail(err, PANTRY_FORMAT, "%s: is not UTF-8", file);
}

pantry_status pn_modelfile_parse(const char *file, const char *text, size_t n, struct pn_modelfile *out,
                                 struct pantry_error *err)
{
    *out = (struct pn_modelfile){0};
    struct reader r = {.file = file, .at = text, .end = text + n, .line = 1, .out = out, .err = err};
    bool has_from = false;
    pantry_status status = check_encoding(file, text, n, err);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        r.at += 3;
    while (!status && r.at < r.end) {
        skip_spaces(&r);
        if (r.at < r.end && *r.at == '#')
            r.at = line_end(&r, r.at);
        else if (r.at < r.end && *r.at != '\n')
            status = read_instruction(&r);
        if (!status && r.at < r.end) { /* at the newline */
            r.at++;
            r.line++;
        }
    }
    for (size_t i = 0; i < out->len; i++)
        has_from |= out->data[i].kind == PN_MODELFILE_FROM;
    if (!status && !has_from)
        status = pn_fail(err, PANTRY_FORMAT, "%s: no FROM line; it names the model to begin with", file);
    if (status)
        pn_modelfile_free(out);
    return status;
}

void pn_modelfile_free(struct pn_modelfile *modelfile)
{
    pn_arena_free(&modelfile->arena);
    free(modelfile->data);
    *modelfile = (struct pn_modelfile){0};
}

/* ---- writing ---- */

void pn_modelfile_put(struct pn_buf *out, enum pn_instruction kind, const char *name, const char *value)
{
    size_t n = strlen(value);
    bool plain = n && *value != '"' && !is_space(*value) && !is_space(value[n - 1]) && !strchr(value, '\n');
    const char *quotes = plain ? "" : strchr(value, '"') ? "\"\"\"" : "\"";
    pn_buf_printf(out, "%s%s%s %s%s%s\n", instructions[kind], name ? " " : "", name ? name : "", quotes, value, quotes);
}
