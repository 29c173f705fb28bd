/* Shared by the files of Go's templates: the tree. */
#ifndef PN_TEXT_TEMPLATE_GO_AST_H
#define PN_TEXT_TEMPLATE_GO_AST_H

#include "base/alloc.h"
#include "text/template/go/go.h"

enum go_function {
    GO_AND,
    GO_OR,
    GO_NOT,
    GO_EQ,
    GO_NE,
    GO_LT,
    GO_LE,
    GO_GT,
    GO_GE,
    GO_LEN,
    GO_INDEX,
    GO_SLICE,
    GO_PRINT,
    GO_JSON,
    GO_CURRENT_DATE,
    GO_N_FUNCTIONS
};

enum go_expr_kind { GO_DOT, GO_VAR, GO_FIELD, GO_CALL, GO_STRING, GO_INT, GO_REAL, GO_BOOL, GO_NIL };

struct go_expr {
    enum go_expr_kind kind;
    const char *text; /* a variable's name ("" for $), a field's, or a string */
    size_t len;
    int64_t number; /* of GO_INT and GO_BOOL */
    double real;
    enum go_function function;
    struct go_expr *first; /* of GO_FIELD: what it is of; of GO_CALL: the first argument */
    struct go_expr *next;  /* the next argument */
};

enum go_node_kind { GO_TEXT, GO_PRINT_VALUE, GO_DECLARE, GO_ASSIGN, GO_IF, GO_WITH, GO_RANGE, GO_BREAK, GO_CONTINUE };

struct go_node {
    enum go_node_kind kind;
    int number, line;
    const char *text; /* of GO_TEXT */
    size_t len;
    const char *names[2]; /* of the variables that it sets; of GO_RANGE: the index or the value, the value */
    bool declares;        /* with := */
    struct go_expr *value;
    struct go_node *body, *other; /* lists */
    struct go_node *next;
};

struct go_template {
    struct pn_arena arena;
    struct go_node *root;
    int response;      /* number of the first node that uses .Response; -1: none does */
    bool has_messages; /* one uses .Messages */
};

#endif
