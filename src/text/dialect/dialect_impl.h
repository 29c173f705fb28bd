/* Shared by the dialect files: the description of a dialect, the cursor that call parsers read through, and the
 * families of call formats (JSON, name + JSON, XML-like parameters, Python calls).
 *
 * A call parser is a pure function of the text so far. It returns PN_MORE while a longer text could change its answer
 * and `final` is false; PN_DONE and PN_FAIL do not change when text is appended. So the result does not depend on how
 * the stream is split, and the parser can retry from the call's start without keeping state. */
#ifndef PN_TEXT_DIALECT_DIALECT_IMPL_H
#define PN_TEXT_DIALECT_DIALECT_IMPL_H

#include "base/alloc.h"
#include "text/dialect/call_shape.h"
#include "text/dialect/dialect.h"

/* ---- cursor ---- */

enum pn_step { PN_DONE, PN_MORE, PN_FAIL };

struct pn_cut {
    const char *text;
    size_t len, pos;
    bool final; /* nothing follows */
};

struct pn_slice {
    const char *at;
    size_t len;
};

#define PN_TRY(x)                                                                                                      \
    do {                                                                                                               \
        enum pn_step step_ = (x);                                                                                      \
        if (step_ != PN_DONE)                                                                                          \
            return step_;                                                                                              \
    } while (0)

bool pn_is_space(char c);
/* The first `needle` in text at or after `from`, or `len`. */
size_t pn_text_find(const char *text, size_t len, size_t from, const char *needle);
/* The result for a text that ends too early: PN_FAIL when nothing follows, else PN_MORE. */
enum pn_step pn_cut_short(const struct pn_cut *cut);
enum pn_step pn_cut_literal(struct pn_cut *cut, const char *literal);
enum pn_step pn_cut_optional(struct pn_cut *cut, const char *literal, bool *found);
enum pn_step pn_cut_space(struct pn_cut *cut);
/* The text before the next `needle`; the position moves past it. */
enum pn_step pn_cut_until(struct pn_cut *cut, const char *needle, struct pn_slice *out);
/* The same for a text of at most `max` bytes, so that a text without `needle` is not searched again and again. */
enum pn_step pn_cut_within(struct pn_cut *cut, const char *needle, size_t max, struct pn_slice *out);
/* One byte without consuming it; fails at the end of the text. */
enum pn_step pn_cut_peek(struct pn_cut *cut, char *c);
/* One JSON value, checked. Control characters inside strings are allowed (pn_json_put repairs them). */
enum pn_step pn_cut_json(struct pn_cut *cut, struct pn_slice *out);
enum pn_step pn_cut_number(struct pn_cut *cut);
/* One Python literal (also true/false/null), appended to `out` as JSON (python_literal.c). */
enum pn_step pn_cut_python(struct pn_cut *cut, struct pn_buf *out, int depth);

/* ---- JSON text ---- */

/* The next member of an object that pn_cut_json has accepted; *pos starts at 0. False after the last. */
bool pn_json_member(struct pn_slice object, size_t *pos, struct pn_slice *key, struct pn_slice *value);
/* Appends accepted JSON; control characters in strings become escapes and invalid UTF-8 U+FFFD. */
void pn_json_put(struct pn_buf *out, struct pn_slice value);
void pn_json_put_string(struct pn_buf *out, const char *text, size_t len);
/* The characters of an accepted JSON string; false if it is not a string. */
bool pn_json_unquote(struct pn_buf *out, struct pn_slice value);
bool pn_json_key_is(struct pn_slice key, const char *name);
/* Parses a value, including numbers that are too big for jansson; NULL: not JSON. */
json_t *pn_json_load(const char *text, size_t len);
void pn_utf8_put(struct pn_buf *out, const char *text, size_t len);

/* ---- tools and their schemas ---- */

/* Kinds of JSON values, as a set. */
enum {
    PN_JSON_STRING = 1,
    PN_JSON_NUMBER = 2,
    PN_JSON_BOOLEAN = 4,
    PN_JSON_NULL = 8,
    PN_JSON_OBJECT = 16,
    PN_JSON_ARRAY = 32,
    PN_JSON_ANY = 63,
};

bool pn_tool_known(const json_t *tools, const char *name);
/* The schema of a tool's parameters, NULL if it has none. */
const json_t *pn_tool_parameters(const json_t *tools, const char *name);
/* Follows "$ref" inside `root`; NULL: it leads nowhere. */
const json_t *pn_schema_resolve(const json_t *root, const json_t *schema);
/* The property `key` of an object schema, alternatives included; NULL if unknown. */
const json_t *pn_schema_property(const json_t *root, const json_t *schema, const char *key);
/* The kinds of value that a schema allows; PN_JSON_ANY if it says nothing. */
unsigned pn_schema_types(const json_t *root, const json_t *schema);
/* Appends `text` as a JSON value for a schema with these types: as JSON if it has one of the types, else as a string.
 */
void pn_value_put(struct pn_buf *out, struct pn_slice text, unsigned types);

/* ---- room in the tables of a dialect ---- */

enum {
    PN_MAX_NEEDLES = 4,
    PN_MAX_DETECTORS = 5,
    PN_MAX_THINKS = 6, /* spellings of reasoning */
    PN_MAX_CALL_FORMS = 8,
    PN_MAX_DROPS = 14,
    PN_MAX_NAME_ENDS = 4,
};

/* ---- one call ---- */

#define PN_MAX_NAME 256 /* bytes of a tool's name */
#define PN_MAX_KEY  1024

struct pn_call {
    const json_t *tools;
    int stage; /* 0 at the start marker; kept between the calls of a parser that set `more` */
    bool more; /* another call may follow directly: the parser is called again with the rest */
    bool have; /* name and arguments are filled */
    struct pn_buf name, arguments, id;
};

typedef enum pn_step pn_call_fn(struct pn_call *call, struct pn_cut *cut, const void *config);

/* Fills `call` from a name. Fails if the name is empty or too long, or, with `known`, if no tool has it. */
enum pn_step pn_call_name(struct pn_call *call, struct pn_slice name, bool known);

struct pn_call_form {
    const char *start; /* the marker that begins it */
    pn_call_fn *parse; /* reads from the marker on */
    const void *config;
    const char *eat;                   /* text directly before the marker that belongs to it, NULL: none */
    const struct pn_call_shape *shape; /* how it is written; NULL: as the family of `parse` and `config` say */
    const char *shown;                 /* what templates have whose models write it; NULL: `start` */
    const char *at_start; /* without a marker: it may only begin the content, with one of these bytes ("*": any) */
};

/* Objects with a name and arguments: START [ {...}, ... ] END, START {...} {...} END */
struct pn_json_form {
    const char *start, *end; /* either may be NULL */
    const char *prelude;     /* between start and the JSON, after white space; optional, may be NULL */
    const char *postlude;
    const char *name_key, *arguments_key, *id_key; /* NULL: "name"; "arguments" or "parameters"; "id" */
    bool name_is_key;                              /* {"NAME": {...}} */
    bool known;                                    /* only tools that were offered */
    bool end_required;
    bool single; /* one object, no list */
};
pn_call_fn pn_parse_json_calls;

/* A name in markup, then its arguments as JSON: START [ID SEP] NAME SEP {...} END */
struct pn_named_form {
    const char *start;
    const char *prefix;                     /* optional, before the name */
    const char *name_end[PN_MAX_NAME_ENDS]; /* the first that occurs ends the name; "{" is not consumed */
    const char *id_start;                   /* after the name: an id up to id_end */
    const char *id_end;
    const char *end; /* optional, after the arguments */
    bool colon_id;   /* NAME:0 */
    bool id_first;   /* ID id_end NAME instead */
    bool known;
    bool fenced; /* ```json around the arguments is allowed */
};
pn_call_fn pn_parse_named_calls;

/* Parameters as elements, typed by the tool's schema */
struct pn_xml_form {
    const char *start;    /* NULL: the form starts with `open` */
    const char *open;     /* before the function's name, NULL: the name follows `start` */
    const char *name_end; /* NULL: white space or "<" ends the name */
    const char *open_end; /* text up to this is skipped after the name, NULL: nothing to skip */
    const char *param, *key_end, *param_end, *value, *value_end;
    const char *close, *end;
    bool trim_newline;     /* one newline on each side of a value is markup */
    bool string_attribute; /* string="true|false" between key and value says how to read it */
    bool union_is_string;
    bool cdata;
    bool known;
};
pn_call_fn pn_parse_xml_calls;

/* [name(key=value, ...), ...], or without the brackets between start and end */
struct pn_python_form {
    const char *start, *end;
    bool known;
    bool bare;
};
pn_call_fn pn_parse_python_calls;
#define PN_IN_PYTHON 3 /* its stage; differs from those of JSON lists, so that a dialect may have both */

/* ---- a dialect ---- */

struct pn_think {
    const char *open, *close;
};

struct pn_drop {
    const char *text;
    bool ends_reasoning; /* also seen inside the reasoning, and ends it */
    bool separate;       /* kept if the reasoning stays in the content */
    bool calls;          /* kept if no calls are parsed */
};

enum {
    PN_CALLS_END_REASONING = 1, /* a call's start inside the reasoning ends it */
    PN_KEEP_NEWLINE = 2,        /* the newline before the reasoning's end is reasoning */
    PN_THINK_ANYWHERE = 4,      /* reasoning may come again after content */
    PN_DROP_THINK = 8,          /* reasoning that stays in the content loses its markers */
    PN_SPACE_IS_REASONING = 16, /* white space after the reasoning's end is reasoning */
};

/* A template has this dialect if its text has all of `all` and none of `none`. */
struct pn_detector {
    const char *all[PN_MAX_NEEDLES];
    const char *none[PN_MAX_NEEDLES];
};

struct pn_parser;

struct pn_dialect {
    const char *name;
    struct pn_detector detect[PN_MAX_DETECTORS];
    struct pn_think think[PN_MAX_THINKS]; /* empty: the common spellings */
    struct pn_call_form calls[PN_MAX_CALL_FORMS];
    struct pn_drop drop[PN_MAX_DROPS];
    const char *drop_at_start;    /* a prefix of the answer without meaning */
    const char *prompt_reasoning; /* a prompt that ends with this: reported as the start of the reasoning */
    unsigned flags;
    const char *lead;    /* before the first call, which need not be there */
    const char *again;   /* between two messages of one answer */
    const char *content; /* before the content, if `framed` */
    bool framed;         /* see pn_dialect_frame */
    /* Dialects that are sequences of messages with headers read the stream themselves. `start` sets the first state. */
    void (*start)(struct pn_parser *parser, const struct pn_parse_options *options);
    bool (*step)(struct pn_parser *parser, bool final); /* true: call again, something was consumed */
};

/* ---- what a dialect's own step uses ---- */

struct pn_stream {
    struct pn_cut cut; /* the bytes not consumed yet, from position 0 */
    int state;
    size_t scanned; /* bytes of it that were searched without a hit */
    bool tools, in_content;
    const json_t *tool_list;
};

struct pn_stream *pn_parser_stream(struct pn_parser *parser);
void pn_parser_consume(struct pn_parser *parser, size_t n);
void pn_parser_reasoning(struct pn_parser *parser, const char *text, size_t len);
void pn_parser_content(struct pn_parser *parser, const char *text, size_t len);
/* Reports the call and empties it. False, and nothing is reported, if the arguments are not JSON. */
bool pn_parser_call(struct pn_parser *parser, struct pn_call *call);

#endif
