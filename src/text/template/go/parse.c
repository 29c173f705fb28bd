/* Parses Go's templates: see go.h. */
#include "text/template/go/ast.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCE = 1 << 20, MAX_DEPTH = 100, MAX_NODES = 100000 };

/* ---- which language ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ".", ".Name", "$.Name", "$x.Name", "$x :=" or "$x =", none of which is Jinja. */
static bool is_go_operand(const char *at, const char *end)
{
    bool variable = at < end && *at == '$';
    if (variable)
        for (at++; at < end && (is_alpha(*at) || is_digit(*at));)
            at++;
    if (at < end && *at == '.')
        return end - at == 1 || !is_digit(at[1]);
    while (at < end && is_space(*at))
        at++;
    return variable && at < end && (*at == ':' || *at == '=' || *at == ',');
}

/* A tag that Jinja would not take: it begins with "if", which begins no expression there, with a comment, or with an
 * operand of Go, perhaps after a function or a word of a block. */
static bool is_go_tag(const char *at, const char *end)
{
    static const char *const words[] = {"range", "with", "and", "or",  "not",   "eq",    "ne",   "lt",
                                        "le",    "gt",   "ge",  "len", "index", "slice", "json", "print"};
    if (at < end && *at == '-')
        at++;
    while (at < end && is_space(*at))
        at++;
    const char *word = at;
    while (at < end && is_alpha(*at))
        at++;
    size_t n = (size_t)(at - word);
    if (n == 0)
        return is_go_operand(at, end) || (end - at > 1 && at[0] == '/' && at[1] == '*');
    bool spaced = at < end && is_space(*at);
    while (at < end && (is_space(*at) || *at == '('))
        at++;
    if (n == 2 && memcmp(word, "if", 2) == 0)
        return spaced;
    for (size_t i = 0; i < sizeof words / sizeof *words && spaced; i++)
        if (n == strlen(words[i]) && memcmp(word, words[i], n) == 0)
            return at < end && (*at == '$' || is_go_operand(at, end));
    return false;
}

bool pn_go_is_template(const char *source, size_t len)
{
    bool go = false;
    for (size_t i = 0; i + 1 < len; i++) {
        if (source[i] != '{')
            continue;
        if (source[i + 1] == '%')
            return false;
        if (source[i + 1] == '{')
            go = go || is_go_tag(source + i + 2, source + len);
    }
    return go;
}

/* ---- reading ---- */

struct parser {
    struct go_template *t;
    const char *at, *end;
    int line, depth, n_nodes, n_loops;
    bool trim; /* the text that follows loses its white space at the beginning */
    pantry_status status;
    struct pantry_error *err;
    jmp_buf escape;
};

#define FAIL(p, ...)                                                                                                   \
    do {                                                                                                               \
        (p)->status = pn_fail((p)->err, PANTRY_FORMAT, "template:%d: " __VA_ARGS__);                                   \
        longjmp((p)->escape, 1);                                                                                       \
    } while (0)

static void *make(struct parser *p, size_t size)
{
    void *made = pn_arena_alloc(&p->t->arena, size);
    if (!made) {
        p->status = pn_no_memory(p->err, "a template");
        longjmp(p->escape, 1);
    }
    return made;
}

static const char *copy(struct parser *p, const char *text, size_t n)
{
    char *to = make(p, n + 1);
    memcpy(to, text, n);
    return to;
}

static void enter(struct parser *p)
{
    if (++p->depth > MAX_DEPTH)
        FAIL(p, "nested too deeply (allowed %d)", p->line, MAX_DEPTH);
}

static bool is_at(const struct parser *p, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(p->end - p->at) >= n && memcmp(p->at, text, n) == 0;
}

static void skip_spaces(struct parser *p)
{
    for (; p->at < p->end && is_space(*p->at); p->at++)
        p->line += *p->at == '\n';
}

/* "}}" or "-}}" */
static bool is_at_end(const struct parser *p)
{
    return is_at(p, "}}") || is_at(p, "-}}");
}

static const char *take_name(struct parser *p, size_t *n)
{
    const char *start = p->at;
    while (p->at < p->end && (is_alpha(*p->at) || is_digit(*p->at)))
        p->at++;
    *n = (size_t)(p->at - start);
    return start;
}

static bool take_word(struct parser *p, const char *word)
{
    const char *start = p->at;
    size_t n;
    const char *name = take_name(p, &n);
    if (n == strlen(word) && memcmp(name, word, n) == 0)
        return true;
    p->at = start;
    return false;
}

static void take_end(struct parser *p)
{
    skip_spaces(p);
    p->trim = is_at(p, "-}}");
    if (!is_at_end(p))
        FAIL(p, "unexpected \"%.*s\" in a tag", p->line, (int)(p->end - p->at < 20 ? p->end - p->at : 20), p->at);
    p->at += p->trim ? 3 : 2;
}

/* ---- expressions ---- */

static struct go_expr *parse_pipeline(struct parser *p);

static struct go_expr *new_expr(struct parser *p, enum go_expr_kind kind)
{
    struct go_expr *e = make(p, sizeof *e);
    e->kind = kind;
    return e;
}

static void note_field(struct parser *p, const char *name)
{
    if (strcmp(name, "Response") == 0 && p->t->response < 0)
        p->t->response = p->n_nodes - 1; /* the node that is being read */
    p->t->has_messages |= strcmp(name, "Messages") == 0;
}

/* ".Name.Name" after what it is of. */
static struct go_expr *parse_fields(struct parser *p, struct go_expr *e)
{
    size_t n;
    while (p->end - p->at > 1 && *p->at == '.' && is_alpha(p->at[1])) {
        p->at++;
        struct go_expr *field = new_expr(p, GO_FIELD);
        const char *name = take_name(p, &n);
        field->text = copy(p, name, n);
        field->first = e;
        note_field(p, field->text);
        e = field;
    }
    return e;
}

static size_t unescape(struct parser *p, char *to)
{
    static const char from[] = "ntr\"\\'", into[] = "\n\t\r\"\\'";
    char c = *p->at++;
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        FAIL(p, "unknown escape \\%c in a text", p->line, c >= ' ' ? c : '?');
    *to = into[found - from];
    return 1;
}

static struct go_expr *parse_string(struct parser *p)
{
    char quote = *p->at++;
    struct go_expr *e = new_expr(p, GO_STRING);
    char *to = make(p, (size_t)(p->end - p->at) + 1);
    while (p->at < p->end && *p->at != quote) {
        if (quote == '"' && *p->at == '\n')
            break;
        p->line += *p->at == '\n';
        if (quote == '"' && *p->at == '\\' && p->end - p->at > 1) {
            p->at++;
            e->len += unescape(p, to + e->len);
        } else {
            to[e->len++] = *p->at++;
        }
    }
    if (p->at == p->end || *p->at != quote)
        FAIL(p, "a text without an end", p->line);
    p->at++;
    e->text = to;
    return e;
}

static struct go_expr *parse_number(struct parser *p)
{
    char text[40], *end;
    size_t n = 0;
    while (p->at < p->end && n < sizeof text - 1 && (is_digit(*p->at) || strchr("+-.eE", *p->at)) && *p->at)
        text[n++] = *p->at++;
    text[n] = '\0';
    struct go_expr *e = new_expr(p, GO_INT);
    errno = 0;
    e->number = strtoll(text, &end, 10);
    if (*end || errno) {
        e->kind = GO_REAL;
        e->real = strtod(text, &end);
    }
    if (!n || *end || (p->at < p->end && is_alpha(*p->at)) || !isfinite(e->real))
        FAIL(p, "not a number: \"%s\"", p->line, text);
    return e;
}

static struct go_expr *parse_literal_word(struct parser *p)
{
    struct go_expr *e = new_expr(p, GO_BOOL);
    if (take_word(p, "true"))
        e->number = 1;
    else if (take_word(p, "nil"))
        e->kind = GO_NIL;
    else if (!take_word(p, "false"))
        return NULL;
    return e;
}

/* An operand, or NULL where none begins. */
static struct go_expr *parse_operand(struct parser *p)
{
    struct go_expr *e;
    size_t n;
    if (p->at == p->end || is_at_end(p))
        return NULL;
    char c = *p->at;
    if (c == '(') {
        p->at++;
        enter(p);
        e = parse_pipeline(p);
        p->depth--;
        skip_spaces(p);
        if (!is_at(p, ")"))
            FAIL(p, "\")\" is missing", p->line);
        p->at++;
        return parse_fields(p, e);
    }
    if (c == '$') {
        p->at++;
        e = new_expr(p, GO_VAR);
        const char *name = take_name(p, &n);
        e->text = copy(p, name, n);
        return parse_fields(p, e);
    }
    if (c == '.' && !(p->end - p->at > 1 && is_digit(p->at[1]))) {
        e = new_expr(p, GO_DOT);
        if (p->end - p->at > 1 && is_alpha(p->at[1]))
            return parse_fields(p, e);
        p->at++;
        return e;
    }
    if (c == '"' || c == '`')
        return parse_string(p);
    if (is_digit(c) || c == '.' || ((c == '-' || c == '+') && p->end - p->at > 1 && is_digit(p->at[1])))
        return parse_number(p);
    return is_alpha(c) ? parse_literal_word(p) : NULL;
}

static const struct {
    const char *name;
    int least, most; /* arguments */
} functions[GO_N_FUNCTIONS] = {
    [GO_AND] = {"and", 1, 64},     [GO_OR] = {"or", 1, 64},      [GO_NOT] = {"not", 1, 1},
    [GO_EQ] = {"eq", 2, 64},       [GO_NE] = {"ne", 2, 2},       [GO_LT] = {"lt", 2, 2},
    [GO_LE] = {"le", 2, 2},        [GO_GT] = {"gt", 2, 2},       [GO_GE] = {"ge", 2, 2},
    [GO_LEN] = {"len", 1, 1},      [GO_INDEX] = {"index", 2, 8}, [GO_SLICE] = {"slice", 1, 3},
    [GO_PRINT] = {"print", 1, 64}, [GO_JSON] = {"json", 1, 1},   [GO_CURRENT_DATE] = {"currentDate", 0, 0},
};

static enum go_function find_function(struct parser *p)
{
    size_t n;
    const char *name = take_name(p, &n);
    for (int i = 0; i < GO_N_FUNCTIONS; i++)
        if (strlen(functions[i].name) == n && memcmp(functions[i].name, name, n) == 0)
            return (enum go_function)i;
    p->status = pn_fail(p->err, PANTRY_UNSUPPORTED, "template:%d: the function \"%.*s\" is not supported", p->line,
                        (int)(n < 60 ? n : 60), name);
    longjmp(p->escape, 1);
}

/* An operand, or a function with its arguments; `last` (NULL: none) is the value that a pipe hands on. */
static struct go_expr *parse_command(struct parser *p, struct go_expr *last)
{
    struct go_expr *e = parse_operand(p), **tail;
    if (e) {
        skip_spaces(p);
        if (last || (p->at < p->end && !is_at_end(p) && !strchr("|)=:,", *p->at)))
            FAIL(p, "only functions take arguments", p->line);
        return e;
    }
    if (p->at == p->end || !is_alpha(*p->at))
        FAIL(p, "a value is missing", p->line);
    e = new_expr(p, GO_CALL);
    e->function = find_function(p);
    int n = 0;
    tail = &e->first;
    for (;;) {
        skip_spaces(p);
        struct go_expr *argument = parse_operand(p);
        if (!argument)
            break;
        *tail = argument;
        tail = &argument->next;
        n++;
    }
    if (last) {
        *tail = last;
        n++;
    }
    if (n < functions[e->function].least || n > functions[e->function].most)
        FAIL(p, "%s takes another number of arguments (found %d)", p->line, functions[e->function].name, n);
    return e;
}

static struct go_expr *parse_pipeline(struct parser *p)
{
    skip_spaces(p);
    struct go_expr *e = parse_command(p, NULL);
    for (skip_spaces(p); is_at(p, "|"); skip_spaces(p)) {
        p->at++;
        skip_spaces(p);
        e = parse_command(p, e);
    }
    return e;
}

/* ---- nodes ---- */

static struct go_node *parse_list(struct parser *p, const char **ended_by);

static struct go_node *new_node(struct parser *p, enum go_node_kind kind)
{
    struct go_node *node = make(p, sizeof *node);
    if (p->n_nodes == MAX_NODES)
        FAIL(p, "too many tags (allowed %d)", p->line, MAX_NODES);
    node->kind = kind;
    node->number = p->n_nodes++;
    node->line = p->line;
    return node;
}

/* "$x :=", "$i, $x :=" or "$x =" before a pipeline. */
static void parse_declaration(struct parser *p, struct go_node *node)
{
    const char *start = p->at, *names[2] = {NULL, NULL};
    int line = p->line;
    size_t n;
    for (int i = 0; i < 2; i++) {
        skip_spaces(p);
        if (!is_at(p, "$"))
            break;
        p->at++;
        const char *name = take_name(p, &n);
        names[i] = copy(p, name, n);
        skip_spaces(p);
        if (i == 0 && node->kind == GO_RANGE && is_at(p, ","))
            p->at++;
        else
            break;
    }
    bool declares = is_at(p, ":="), assigns = !declares && is_at(p, "=");
    if (!names[0] || !*names[0] || (!declares && !assigns)) {
        p->at = start;
        p->line = line;
        return;
    }
    p->at += declares ? 2 : 1;
    memcpy(node->names, names, sizeof names);
    node->declares = declares;
    if (node->kind == GO_PRINT_VALUE)
        node->kind = declares ? GO_DECLARE : GO_ASSIGN;
}

/* if, with, range, up to their end. */
static struct go_node *parse_block(struct parser *p, enum go_node_kind kind)
{
    struct go_node *node = new_node(p, kind);
    const char *ended_by;
    enter(p);
    p->n_loops += kind == GO_RANGE;
    parse_declaration(p, node);
    node->value = parse_pipeline(p);
    take_end(p);
    node->body = parse_list(p, &ended_by);
    p->n_loops -= kind == GO_RANGE;
    if (ended_by && strcmp(ended_by, "else") == 0) {
        skip_spaces(p);
        if (take_word(p, "if")) {
            node->other = parse_block(p, GO_IF); /* its end is that of all */
            p->depth--;
            return node;
        }
        if (take_word(p, "with")) {
            node->other = parse_block(p, GO_WITH);
            p->depth--;
            return node;
        }
        take_end(p);
        node->other = parse_list(p, &ended_by);
    }
    if (!ended_by || strcmp(ended_by, "end") != 0)
        FAIL(p, "{{ end }} is missing", node->line);
    take_end(p);
    p->depth--;
    return node;
}

/* A tag after "{{": a node, or NULL for a comment, or where a list ends (*ended_by). */
static struct go_node *parse_tag(struct parser *p, const char **ended_by)
{
    static const char *const refused[] = {"define", "template", "block"};
    skip_spaces(p);
    if (is_at(p, "/*")) {
        while (p->at < p->end && !is_at(p, "*/"))
            p->line += *p->at++ == '\n';
        p->at += p->at < p->end ? 2 : 0;
        take_end(p);
        return NULL;
    }
    if (take_word(p, "end") || take_word(p, "else")) {
        *ended_by = p->at[-1] == 'd' ? "end" : "else";
        return NULL;
    }
    if (take_word(p, "if"))
        return parse_block(p, GO_IF);
    if (take_word(p, "with"))
        return parse_block(p, GO_WITH);
    if (take_word(p, "range"))
        return parse_block(p, GO_RANGE);
    bool breaks = take_word(p, "break");
    if (breaks || take_word(p, "continue")) {
        if (!p->n_loops)
            FAIL(p, "break or continue outside of a range", p->line);
        take_end(p);
        return new_node(p, breaks ? GO_BREAK : GO_CONTINUE);
    }
    for (size_t i = 0; i < 3; i++)
        if (take_word(p, refused[i])) {
            p->status = pn_fail(p->err, PANTRY_UNSUPPORTED, "template:%d: %s is not supported", p->line, refused[i]);
            longjmp(p->escape, 1);
        }
    struct go_node *node = new_node(p, GO_PRINT_VALUE);
    parse_declaration(p, node);
    node->value = parse_pipeline(p);
    take_end(p);
    return node;
}

/* The text up to the next tag or the end; NULL if nothing is left of it. */
static struct go_node *parse_text(struct parser *p)
{
    const char *start = p->at, *stop;
    while (p->at < p->end && !is_at(p, "{{"))
        p->line += *p->at++ == '\n';
    stop = p->at;
    while (p->trim && start < stop && is_space(*start))
        start++;
    p->trim = false;
    if (p->at < p->end && p->end - p->at > 3 && p->at[2] == '-' && is_space(p->at[3]))
        while (stop > start && is_space(stop[-1]))
            stop--;
    if (start == stop)
        return NULL;
    struct go_node *node = new_node(p, GO_TEXT);
    node->text = copy(p, start, (size_t)(stop - start));
    node->len = (size_t)(stop - start);
    return node;
}

static struct go_node *parse_list(struct parser *p, const char **ended_by)
{
    struct go_node *list = NULL, **tail = &list;
    *ended_by = NULL;
    while (p->at < p->end && !*ended_by) {
        struct go_node *node = parse_text(p);
        if (node) {
            *tail = node;
            tail = &node->next;
        }
        if (p->at == p->end)
            break;
        p->at += p->end - p->at > 3 && p->at[2] == '-' && is_space(p->at[3]) ? 3 : 2;
        if ((node = parse_tag(p, ended_by))) {
            *tail = node;
            tail = &node->next;
        }
    }
    return list;
}

/* Ollama adds {{ .Response }} where a template shows neither messages nor a response. */
static void add_response(struct parser *p)
{
    struct go_node **tail = &p->t->root;
    while (*tail)
        tail = &(*tail)->next;
    *tail = new_node(p, GO_PRINT_VALUE);
    struct go_expr *field = new_expr(p, GO_FIELD);
    field->text = "Response";
    field->first = new_expr(p, GO_DOT);
    note_field(p, field->text);
    (*tail)->value = field;
}

pantry_status pn_go_parse(const char *source, size_t len, struct go_template **out, struct pantry_error *err)
{
    *out = NULL;
    if (len > MAX_SOURCE)
        return pn_fail(err, PANTRY_LIMIT, "template: too long (found %zu bytes, allowed %d)", len, MAX_SOURCE);
    struct go_template *t = calloc(1, sizeof *t);
    struct parser *p = calloc(1, sizeof *p);
    pantry_status status = t && p ? PANTRY_OK : pn_no_memory(err, "a template");
    const char *ended_by;
    if (!status) {
        *t = (struct go_template){.response = -1};
        *p = (struct parser){.t = t, .at = source, .end = source + len, .line = 1, .err = err};
        if (setjmp(p->escape) == 0) {
            t->root = parse_list(p, &ended_by);
            if (ended_by)
                FAIL(p, "{{ %s }} without a beginning", p->line, ended_by);
            if (!t->has_messages && t->response < 0)
                add_response(p);
        } else {
            status = p->status;
        }
    }
    free(p);
    if (status)
        pn_go_free(t);
    else
        *out = t;
    return status;
}

void pn_go_free(struct go_template *t)
{
    if (!t)
        return;
    pn_arena_free(&t->arena);
    free(t);
}
