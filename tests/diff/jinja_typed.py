#!/usr/bin/env python3
"""Compares the template engine with Python's jinja2 on programs whose parts fit together.

usage: jinja_typed.py [--driver FILE] [--count N] [--seed S] [--show N]

jinja_programs.py mixes everything with everything, so that most of its random programs end in the first TypeError. Here an
expression is asked for by type, and filters, tests and methods get arguments that they accept (one time in thirty they do
not). So programs run long: macros with callers, recursive loops, namespaces, lazy filters, formats, whitespace control.
Needs: jinja2.
"""

# run-diff: --count 4000
import argparse
import os
import random
import re
import sys
import warnings

from jinja_programs import compare, run_engine

STRINGS = [
    "'abc'",
    "'Hello World'",
    "'  x y '",
    "''",
    "'a,b,,c'",
    "'naïve ÉÀ ß'",
    "'日本 😀'",
    "'l\\u00e9\\n\\ttab\\\\'",
    '"it\'s"',
    "'say \"hi\"'",
    "'<b>&</b>'",
    "'12'",
    "'-3.5'",
    "'Title Case Words'",
    "'one two three four five six'",
    "'x' 'y'",
    "'\\x41\\u0042\\U00000043\\103'",
    "'line1\\nline2\\r\\n\\nline4'",
    "s",
    "u",
    "ws",
    "html",
    "users[0].name",
    "messages[0].role",
    "messages[1]['content']",
    "d|string",
    "'a-b_c.d'",
    "'%'",
    "'{}'",
    "'aaa'",
    "'ΑΣ'",
    "'ﬁ'",
]
INTS = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-7",
    "10",
    "255",
    "1_000",
    "0xff",
    "0b101",
    "0o17",
    "n",
    "z",
    "neg",
    "big",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "123456789012345678901234567890",
    "true",
    "l[0]",
    "users[0].age",
]
FLOATS = ["0.0", "1.5", "-2.25", "f", "1e3", "1e16", "1e-7", "123456.789", "0.1", "3.0", "2.675", "1e22", "-0.0"]
OPERATORS = ["==", "!=", "<", "<=", ">", ">="]
ANY_FILTERS = ["string", "tojson", "pprint", "default('d')", "default('d', true)", "d", "list|length", "e", "length"]
STRING_FILTERS = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "trim({S})",
    "e",
    "escape",
    "forceescape",
    "safe",
    "string",
    "striptags",
    "urlencode",
    "center({I9})",
    "center(width={I9})",
    "indent",
    "indent({I4})",
    "indent({I4}, true)",
    "indent({I4}, {B}, {B})",
    "indent(width={S}, first={B})",
    "indent(first={B}, blank={B})",
    "replace({S}, {S})",
    "replace({S}, {S}, {I4})",
    "replace(old={S}, new={S})",
    "replace({S}, {S}, count={I4})",
    "truncate({I9})",
    "truncate({I9}, {B})",
    "truncate({I9}, {B}, {S})",
    "truncate({I9}, {B}, '..', {I4})",
    "truncate(length=9, end='', leeway=0)",
    "wordwrap({I9})",
    "wordwrap({I9}, {B})",
    "wordwrap({I9}, wrapstring={S})",
    "wordwrap({I9}, break_on_hyphens={B})",
    "format({A})",
    "join({S})",
    "reverse",
    "tojson",
    "pprint",
    "default({S})",
    "default({S}, {B})",
    "list|join('|')",
    "first|default('')",
    "last|default('')",
    "unique|join",
    "sort|join",
    "batch({I4})|map('join')|join('/')",
    "slice({I4})|map('join')|join('/')",
    "map('upper')|join",
    "select('in', 'aeiou')|join",
    "random|length|string",
    "string|upper",
]
STRING_METHODS = [
    "upper()",
    "lower()",
    "title()",
    "capitalize()",
    "swapcase()",
    "casefold()",
    "strip()",
    "lstrip()",
    "rstrip()",
    "strip({S})",
    "lstrip({S})",
    "rstrip({S})",
    "replace({S}, {S})",
    "replace({S}, {S}, {I4})",
    "center({I9})",
    "center({I9}, '*')",
    "ljust({I9}, '.')",
    "rjust({I9})",
    "zfill({I9})",
    "expandtabs()",
    "expandtabs({I4})",
    "removeprefix({S})",
    "removesuffix({S})",
    "join({LS})",
    "format({A}, {A})",
    "split()|join('+')",
    "split({S1})|join('+')",
    "split({S1}, {I4})|join('+')",
    "rsplit({S1}, {I4})|join('+')",
    "split(maxsplit={I4})|join('+')",
    "split(sep={S1})|join('+')",
    "splitlines()|join('+')",
    "splitlines({B})|join('+')",
    "partition({S1})|join('+')",
    "rpartition({S1})|join('+')",
    "split({S1})[0]",
    "split({S1})[-1]",
    "split({S1})|last",
]
INT_METHODS = [
    "find({S})",
    "rfind({S})",
    "count({S})",
    "find({S}, {I4})",
    "count({S}, {I4}, {I9})",
    "rfind({S}, {I4}, {I9})",
]
BOOL_METHODS = [
    "startswith({S})",
    "endswith({S})",
    "startswith(({S}, {S}))",
    "endswith({S}, {I4})",
    "isdigit()",
    "isalpha()",
    "isalnum()",
    "isspace()",
    "isupper()",
    "islower()",
    "istitle()",
    "isdecimal()",
    "isnumeric()",
    "isidentifier()",
    "isascii()",
    "isprintable()",
]
LIST_FILTERS = [
    "list",
    "reverse|list",
    "unique|list",
    "sort",
    "sort(reverse={B})",
    "sort(case_sensitive={B})",
    "unique(case_sensitive={B})|list",
    "select|list",
    "reject|list",
    "map('string')|list",
    "select('defined')|list",
    "reject('none')|list",
    "batch({I4})|list",
    "batch({I4}, {A})|list",
    "slice({I4})|list",
    "slice({I4}, {A})|list",
    "map('default', {A})|list",
]
STRING_LIST = [
    "select('in', {S})|list",
    "map('upper')|list",
    "map('replace', {S}, {S})|list",
    "map('length')|list|map('string')|list",
    "reject('equalto', {S})|list",
    "select('lower')|list",
    "map('trim')|list",
    "map('center', {I9})|list",
    "map('first')|list|map('string')|list",
    "map('truncate', {I9}, true)|list",
    "select('gt', {S})|list",
]
INT_LIST = [
    "select('odd')|list",
    "select('even')|list",
    "reject('gt', {I})|list",
    "select('divisibleby', 3)|list",
    "map('abs')|list",
    "select('eq', {I})|list",
    "map('int')|list",
    "select('in', {LI})|list",
    "reject('sameas', none)|list",
]
RECORDS = [
    "users",
    "users|sort(attribute='name')",
    "users|sort(attribute='age,name', reverse={B})",
    "users|selectattr('age', 'ge', {I})|list",
    "users|rejectattr('tags')|list",
    "users|selectattr('tags', 'defined')|list",
    "users|selectattr('name', 'in', {LS})|list",
    "users|unique(attribute='age')|list",
    "users[{SL}]",
    "users|reverse|list",
    "users|selectattr('name', 'ne', {S})|list",
]
SCALAR_FORMATS = [":>9", ":<9", ":^9", ":*^9", "!r", "!s", ":10", ""]
INT_FORMATS = [":d", ":05d", ":+d", ":x", ":#x", ":o", ":b", ":,", ":_", ":e", ":.2f", ":%", ":n", ": d", ":=+8d"]
FLOAT_FORMATS = [":.2f", ":10.3f", ":g", ":e", ":+.1f", ":.0%", ":,.2f", ":09.2f", ":.3", ":G"]
TESTS = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "boolean",
    "mapping",
    "sequence",
    "iterable",
    "callable",
    "true",
    "false",
    "escaped",
    "lower",
    "upper",
]
WRONG = [
    "nil",
    "undef",
    "undef.x",
    "[]",
    "ed",
    "'x'",
    "f",
    "range(3)",
    "d.items",
    "l|map('upper')",
    "loop",
    "(1, 'a')",
    "caller",
]


class Typed:
    """One program; every choice comes from its own generator."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.strings, self.ints, self.lists, self.macros = [], [], [], []
        self.loops = self.count = 0
        self.namespaces = []

    def pick(self, *options):
        return self.rng.choice(options)

    def chance(self, p):
        return self.rng.random() < p

    def fresh(self, kind):
        self.count += 1
        return f"{kind}{self.count}"

    # ---- expressions ----

    FILL = re.compile(r"\{(S1|SL|S|I4|I9|I|B|A|LS|LI)\}")

    def fill(self, text, depth):
        makers = {
            "S": lambda: self.string(depth),
            "S1": lambda: self.pick("' '", "','", "'l'", "'a'", "'\\n'", "'xx'"),
            "I": lambda: self.integer(depth),
            "I4": lambda: self.pick("0", "1", "2", "3", "4", "-1", "n - 5"),
            "I9": lambda: self.pick("1", "3", "5", "8", "9", "12", "20", "-2"),
            "B": lambda: self.boolean(0),
            "A": lambda: self.any(depth),
            "LS": lambda: self.string_list(depth),
            "LI": lambda: self.int_list(depth),
            "SL": self.slice,
        }
        return self.FILL.sub(lambda m: makers[m.group(1)](), text)

    def slice(self):
        def part():
            return self.pick("", "", "0", "1", "2", "-1", "-2", "n - 5", "100", "-100")

        step = self.pick("", "", "", ":", ":2", ":-1", ":-2")
        return f"{part()}:{part()}{step}"

    def wrong(self):
        return self.pick(*WRONG)

    def string(self, depth=2):
        depth -= 1
        if self.chance(0.012):
            return self.wrong()
        if depth < 0 or self.chance(0.15):
            return self.pick(*STRINGS, *(self.strings * 8))
        r = self.rng.randrange(18)
        if r < 2:
            return f"({self.any(depth)} ~ {self.any(depth)})"
        if r < 4:
            return f"({self.string(depth)} + {self.string(depth)})"
        if r == 4:
            return f"({self.string(depth)} * {self.pick('0', '1', '2', '3', '-1', 'true')})"
        if r < 7:
            return f"({self.string(depth)})[{self.slice()}]"
        if r < 10:
            return f"({self.string(depth)})|{self.fill(self.pick(*STRING_FILTERS), depth)}|string"
        if r < 13:
            return f"({self.string(depth)}).{self.fill(self.pick(*STRING_METHODS), depth)}"
        if r == 13:
            return self.formatted(depth)
        if r == 14:
            return f"({self.string(depth)} if {self.boolean(depth)} else {self.string(depth)})"
        if r == 15:
            return self.pick(
                f"({self.any(depth)})|{self.fill(self.pick(*ANY_FILTERS), depth)}|string",
                f"({self.any(depth)})|{self.tojson()}",
            )
        if r == 16:
            return self.fill(
                self.pick(
                    "{LS}|join({S})",
                    "{LS}|join",
                    "{LI}|join('-')",
                    "users|join(', ', attribute='name')",
                    "{LS}|first|string",
                    "{LS}|last|string",
                    "{LS}|max|string",
                    "{LS}|min|string",
                    "(d|xmlattr)",
                    "({'a': {S}, 'b': {I}}|xmlattr({B}))",
                    "{I}|filesizeformat({B})",
                    "({A}|attr('x'))|string",
                    "d|dictsort|string",
                    "users|groupby('age')|string",
                    "{LS}|sort|map('upper')|join('.')",
                    "strftime_now('%Y-%m-%d %H:%M')",
                    "({'k': {S}}).k",
                    "({'k': {S}})['k']",
                    "({'k': {S}}).get('k', '')",
                    "({'k': {S}}).get('z', {S})",
                    "dict(k={S}).k",
                    "range({I9})|string",
                ),
                depth,
            )
        if self.macros:
            return self.call_macro(depth)
        return self.pick(*STRINGS)

    def formatted(self, depth):
        kind = self.rng.randrange(6)
        if kind == 0:
            return (
                f"'{{{self.pick(*SCALAR_FORMATS, ':.2', ':s')}}}|{{}}'.format({self.string(depth)}, {self.any(depth)})"
            )
        if kind == 1:
            return f"'{{0{self.pick(*INT_FORMATS)}}}{{1}}{{0}}'.format({self.integer(depth)}, {self.string(depth)})"
        if kind == 2:
            return f"'{{x{self.pick(*FLOAT_FORMATS)}}}'.format(x={self.real(depth)})"
        if kind == 3:
            return self.fill(
                f"'%{self.pick('', '-', '0', '+', '#')}{self.pick('', '5', '12')}{self.pick('d', 'x', 'o', 'i', 's', 'r', 'f', '.1f', 'e', 'g')}|%s' % ({{I}}, {{A}})",
                depth,
            )
        if kind == 4:
            return self.fill("'%s-%s'|format({S}, {A})", depth)
        return self.fill("'%(a)s %(b)5d' % {'a': {S}, 'b': {I}}", depth)

    def tojson(self):
        arguments = [
            a
            for a in (
                "indent=" + self.pick("2", "4", "0", "none", "'\\t'", "1"),
                "ensure_ascii=" + self.boolean(0),
                "sort_keys=" + self.boolean(0),
                "separators=" + self.pick("(',', ':')", "(', ', ': ')", "none"),
            )
            if self.chance(0.3)
        ]
        return f"tojson({', '.join(arguments)})" if arguments else "tojson"

    def integer(self, depth=2):
        depth -= 1
        if self.chance(0.012):
            return self.wrong()
        if depth < 0 or self.chance(0.2):
            extra = ["loop.index", "loop.index0", "loop.revindex", "loop.length", "loop.depth"] if self.loops else []
            return self.pick(*INTS, *(self.ints * 6), *extra, *extra)
        r = self.rng.randrange(12)
        if r < 4:
            return f"({self.integer(depth)} {self.pick('+', '-', '*', '+', '-')} {self.integer(depth)})"
        if r == 4:
            return (
                f"({self.integer(depth)} {self.pick('//', '%')} {self.pick('3', '7', '-4', 'n', self.integer(depth))})"
            )
        if r == 5:
            return f"({self.integer(0)} ** {self.pick('0', '1', '2', '3', '5')})"
        if r == 6:
            return f"({self.any(depth)}|string|{self.pick('length', 'count', 'wordcount')})"
        if r == 7:
            return f"({self.string(depth)}).{self.fill(self.pick(*INT_METHODS), depth)}"
        if r == 8:
            return self.fill(
                self.pick(
                    "({S}|int)",
                    "({S}|int({I}))",
                    "({S}|int({I}, 16))",
                    "({R}|int)".replace("{R}", "{I}"),
                    "({I}|abs)",
                    "-{I}",
                    "+{I}",
                    "({LI}|sum)",
                    "({LI}|sum(start={I}))",
                    "({LI}|max|int)",
                    "({LI}|min|int)",
                    "users|sum(attribute='age')",
                    "({LI}|first|int)",
                    "{LS}|length",
                    "{LI}.count({I})",
                    "({I}).bit_length()",
                ),
                depth,
            )
        if r == 9:
            return f"({self.integer(depth)} if {self.boolean(depth)} else {self.integer(depth)})"
        if r == 10 and self.namespaces:
            return f"{self.pick(*self.namespaces)}.i"
        return self.pick(*INTS)

    def real(self, depth=2):
        depth -= 1
        if depth < 0 or self.chance(0.25):
            return self.pick(*FLOATS)
        r = self.rng.randrange(7)
        if r < 3:
            return f"({self.real(depth)} {self.pick('+', '-', '*')} {self.number(depth)})"
        if r == 3:
            return f"({self.number(depth)} / {self.pick('2', '3', '7', '0.3', self.number(depth))})"
        if r == 4:
            return f"({self.number(depth)}|round({self.pick('', '1', '2', '-1', '0', '3')}{self.pick('', '', '', ', method=%s' % repr(self.pick('common', 'ceil', 'floor')))}))".replace(
                "(, ", "("
            )
        if r == 5:
            return f"({self.any(depth)}|float{self.pick('', '(1.5)', '(default=0.5)')})"
        return f"({self.real(depth)} {self.pick('%', '//')} {self.pick('2', '0.7', '-1.5', '3')})"

    def number(self, depth):
        return self.real(depth) if self.chance(0.4) else self.integer(depth)

    def boolean(self, depth=2):
        depth -= 1
        if depth < 0 or self.chance(0.15):
            return self.pick(
                "true",
                "false",
                "True",
                "False",
                "t",
                *(["loop.first", "loop.last"] if self.loops and self.chance(0.3) else []),
            )
        r = self.rng.randrange(12)
        if r < 2:
            return f"({self.string(depth)} {self.pick(*OPERATORS)} {self.string(depth)})"
        if r < 4:
            return f"({self.number(depth)} {self.pick(*OPERATORS)} {self.number(depth)})"
        if r == 4:
            return f"({self.any(depth)} {self.pick('==', '!=')} {self.any(depth)})"
        if r == 5:
            return self.fill(
                self.pick(
                    "({S} in {S})",
                    "({S} not in {LS})",
                    "({I} in {LI})",
                    "({S} in d)",
                    "({A} in [{A}, {A}])",
                    "({I} in range({I9}))",
                ),
                depth,
            )
        if r == 6:
            return f"({self.any(depth)} is {self.pick('', 'not ')}{self.pick(*TESTS)})"
        if r == 7:
            return self.fill(
                self.pick(
                    "({I} is divisibleby({I9}))",
                    "({I} is odd)",
                    "({I} is even)",
                    "({I} is gt({I}))",
                    "({S} is in({LS}))",
                    "({I} is lt {I})",
                    "({S} is eq({S}))",
                    "({A} is ne({A}))",
                    "({A} is sameas(none))",
                    "({S} is filter)",
                    "('upper' is filter)",
                    "('odd' is test)",
                ),
                depth,
            )
        if r == 8:
            return f"({self.boolean(depth)} {self.pick('and', 'or')} {self.boolean(depth)})"
        if r == 9:
            return f"(not {self.any(depth)})"
        if r == 10:
            return f"({self.string(depth)}).{self.fill(self.pick(*BOOL_METHODS), depth)}"
        return f"({self.integer(depth)} {self.pick(*OPERATORS)} {self.integer(depth)} {self.pick(*OPERATORS)} {self.integer(depth)})"

    def string_list(self, depth=2):
        depth -= 1
        if depth < 0 or self.chance(0.2):
            return self.pick(
                "ls",
                "['b', 'a', 'C']",
                "('x', 'y')",
                "s.split()",
                "users|map(attribute='name')|list",
                "[]",
                "d|list",
                "'a b c'.split(' ')",
                *self.lists,
            )
        if self.chance(0.35):
            return f"({self.string_list(depth)})|{self.fill(self.pick(*LIST_FILTERS[:10], *STRING_LIST), depth)}"
        return self.pick(
            f"[{self.string(depth)}, {self.string(depth)}]",
            f"({self.string_list(depth)}|list + {self.string_list(depth)}|list)",
            f"({self.string_list(depth)})[{self.slice()}]",
            f"({self.string(depth)}).split({self.pick('', repr(' '), repr(','))})",
            f"({self.string_list(depth)}|list * 2)",
        )

    def int_list(self, depth=2):
        depth -= 1
        if depth < 0 or self.chance(0.2):
            return self.pick(
                "l", "[1, 2, 3]", "range(4)|list", "range(5, 0, -2)|list", "[]", "[3, 3, 1]", "(1, 2)", "range(2, 8)"
            )
        if self.chance(0.4):
            return f"({self.int_list(depth)})|{self.fill(self.pick(*LIST_FILTERS[:10], *INT_LIST), depth)}"
        return self.pick(
            f"[{self.integer(depth)}, {self.integer(depth)}]",
            f"({self.int_list(depth)}|list + {self.int_list(depth)}|list)",
            f"({self.int_list(depth)})[{self.slice()}]",
            f"({self.string_list(depth)}|map('length')|list)",
            f"({self.int_list(depth)}|sort(reverse=true))",
        )

    def mapping(self, depth=2):
        depth -= 1
        if depth < 0 or self.chance(0.3):
            return self.pick(
                "d",
                "{}",
                "{'a': 1}",
                "users[0]",
                "nested",
                "nested.a",
                "messages[2].tool_calls[0].function",
                "{1: 2, none: 3}",
            )
        return self.pick(
            f"{{'x': {self.any(depth)}, {self.string(0)}: {self.any(depth)}}}",
            f"dict({self.mapping(depth)})",
            f"dict(a={self.any(depth)}, b={self.any(depth)})",
            f"dict([({self.string(0)}, {self.any(depth)})])",
            f"dict({self.mapping(0)}|items|map('map', 'string'))" if self.chance(0.1) else "nested.a.b",
            f"({self.mapping(depth)}).copy()",
        )

    def any(self, depth=2):
        r = self.rng.randrange(14)
        if r < 4:
            return self.string(depth)
        if r < 7:
            return self.integer(depth)
        if r == 7:
            return self.real(depth)
        if r == 8:
            return self.boolean(depth)
        if r == 9:
            return self.pick("none", "nil", "undef", "d.nope", "mixed", "()", "(1,)")
        if r == 10:
            return self.string_list(depth)
        if r == 11:
            return (
                self.int_list(depth)
                if self.chance(0.6)
                else f"({self.int_list(depth)})|{self.fill(self.pick(*LIST_FILTERS), depth)}"
            )
        if r == 12:
            return self.mapping(depth)
        return self.fill(
            self.pick(
                *RECORDS,
                "{M}.items()|list",
                "{M}.keys()|list",
                "{M}.values()|list",
                "{M}|dictsort",
                "{M}|dictsort({B}, 'value')" if self.chance(0.2) else "{M}|dictsort(reverse={B})",
                "{M}|items|list",
                "users|groupby('age')|map('last')|list",
                "users|map(attribute='tags', default=[])|list",
                "users|map(attribute='name')|map('upper')|list",
                "users|groupby('name', case_sensitive={B})|list",
            ).replace("{M}", self.mapping(0)),
            depth,
        )

    def call_macro(self, depth):
        name, parameters = self.pick(*self.macros)
        positional = self.rng.randint(0, len(parameters))
        arguments = [self.any(depth) for _ in parameters[:positional]]
        arguments += [f"{p}={self.any(depth)}" for p in parameters[positional:] if self.chance(0.6)]
        if self.chance(0.05):
            arguments.append(self.pick("zz=1", "*l", "**{'q': 2}"))
        return f"{name}({', '.join(arguments)})"

    # ---- statements ----

    def tag(self, inner, indent=None):
        open_, close = self.pick("{%", "{%", "{%", "{%-", "{%+"), self.pick("%}", "%}", "%}", "-%}", "+%}")
        return f"{self.space() if indent is None else indent}{open_} {inner} {close}{self.pick('', '', chr(10), ' ', chr(10) * 2)}"

    def space(self):
        return self.pick("", "", "", " ", "\n", "\n  ", "  \n\t", "x ", "text\n")

    def show(self, expression):
        return (
            f"{self.pick('{{', '{{', '{{-')} {expression} {self.pick('}}', '}}', '-}}')}{self.pick('', '|', chr(10))}"
        )

    def body(self, depth, low=1, high=3):
        marks = len(self.strings), len(self.ints), len(self.lists), len(self.macros), len(self.namespaces)
        text = "".join(self.statement(depth) for _ in range(self.rng.randint(low, high)))
        if depth < 3 and self.chance(0.8):  # mostly what is in scope, sometimes not
            for names, mark in zip((self.strings, self.ints, self.lists, self.macros, self.namespaces), marks):
                del names[mark:]
        return text

    def statement(self, depth):
        kind = self.rng.randrange(30)
        if depth <= 0 or kind < 10:
            return self.space() + self.show(self.any(3))
        makers = [
            self.set_string,
            self.set_string,
            self.set_integer,
            self.set_list,
            self.set_block,
            self.set_namespace,
            self.bump_namespace,
            self.condition,
            self.condition,
            self.loop,
            self.loop,
            self.loop,
            self.loop_pairs,
            self.loop_recursive,
            self.macro,
            self.macro,
            self.call_block,
            self.filter_block,
            self.with_block,
            self.generation,
            self.raw,
        ]
        return self.pick(*makers)(depth)

    def set_string(self, depth):
        name, value = self.fresh("v"), self.string(3)
        self.strings.append(name)
        return self.tag(f"set {name} = {value}")

    def set_integer(self, depth):
        if self.chance(0.3):
            a, b = self.fresh("i"), self.fresh("i")
            value = f"{self.integer(2)}, {self.integer(2)}"
            self.ints += [a, b]
            return self.tag(f"set {a}, {b} = {value}")
        name, value = self.pick(*self.ints, self.fresh("i")), self.integer(3)
        self.ints.append(name)
        return self.tag(f"set {name} = {value}")

    def set_list(self, depth):
        name, value = self.fresh("l"), self.string_list(3)
        self.lists.append(name)
        return self.tag(f"set {name} = {value}")

    def set_block(self, depth):
        name, inner = self.fresh("v"), self.body(depth - 1, 1, 2)
        filters = self.fill("".join(f" | {self.pick(*STRING_FILTERS[:20])}" for _ in range(self.rng.randint(0, 2))), 0)
        self.strings.append(name)
        return f"{self.tag(f'set {name}{filters}')}{inner}{self.tag('endset')}"

    def set_namespace(self, depth):
        name = self.fresh("ns")
        text = self.tag(
            f"set {name} = namespace(i={self.integer(1)}, s={self.string(1)}{self.pick('', ', l=[]', ', d={}')})"
        )
        self.namespaces.append(name)
        return text

    def bump_namespace(self, depth):
        if not self.namespaces:
            return self.set_namespace(depth)
        name = self.pick(*self.namespaces)
        return self.tag(
            self.pick(
                f"set {name}.i = {name}.i + {self.integer(1)}",
                f"set {name}.s = {name}.s ~ {self.string(1)}",
                f"set {name}.new = {self.any(1)}",
                f"set {name}.l = ({name}.l or []) + [{self.any(1)}]",
            )
        )

    def condition(self, depth):
        text = f"{self.tag(f'if {self.boolean(3)}')}{self.body(depth - 1)}"
        if self.chance(0.3):
            text += f"{self.tag(f'elif {self.any(2)}')}{self.body(depth - 1)}"
        if self.chance(0.5):
            text += f"{self.tag('else')}{self.body(depth - 1)}"
        return text + self.tag("endif")

    def loop_body(self, depth):
        self.loops += 1
        text = self.body(depth - 1)
        if self.chance(0.4):
            text += self.show(
                self.pick(
                    "loop.index ~ '/' ~ loop.length",
                    "loop.cycle('a', 'b', 3)",
                    "loop.previtem|default('-')",
                    "loop.nextitem|default('-')",
                    "loop.first ~ loop.last",
                    "loop.revindex0",
                    "loop.changed(loop.index0 // 2)",
                    "loop.depth0",
                    "', ' if not loop.last",
                    "loop",
                )
            )
        if self.chance(0.15):
            text += f"{self.tag(f'if {self.boolean(2)}')}{self.tag(self.pick('break', 'continue'))}{self.tag('endif')}"
        self.loops -= 1
        return text

    def loop_tail(self, depth):
        return (f"{self.tag('else')}{self.body(depth - 1, 1, 1)}" if self.chance(0.2) else "") + self.tag("endfor")

    def loop(self, depth):
        text = self.chance(0.5)
        name = self.fresh("v" if text else "i")
        source = self.string_list(2) if text else self.int_list(2)
        names = self.strings if text else self.ints
        names.append(name)
        test = f" if {self.boolean(2) if self.chance(0.5) else name}" if self.chance(0.25) else ""
        inner = self.loop_body(depth)
        if name in names:
            names.remove(name)
        return f"{self.tag(f'for {name} in {source}{test}')}{inner}{self.loop_tail(depth)}"

    def loop_pairs(self, depth):
        key, value = self.fresh("v"), self.fresh("w")
        source = self.pick(
            "d.items()",
            f"{self.mapping(1)}.items()",
            "d|dictsort",
            f"({self.mapping(1)})|items",
            "users|groupby('age')",
            "d.items()|list|reverse",
            f"[(1, 'a'), ('b', {self.any(1)})]",
            "'ab cd'.split()",
            "ls|batch(2, 'x')",
        )
        return f"{self.tag(f'for {key}, {value} in {source}')}{self.show(f'{key} ~ {chr(39)}={chr(39)} ~ {value}')}{self.loop_body(depth)}{self.loop_tail(depth)}"

    def loop_recursive(self, depth):
        name = self.fresh("t")
        self.loops += 1
        inner = f"{self.show(f'{name}.v')}{self.tag(f'if {name}.c')}{self.pick('<', ' (')}{self.show(f'loop({name}.c)')}>{self.tag('endif')}{self.body(depth - 1, 0, 1)}"
        self.loops -= 1
        tree = "[{'v': 1, 'c': [{'v': 2}, {'v': 3, 'c': [{'v': 4}]}]}, {'v': 'x', 'c': []}]"
        return f"{self.tag(f'for {name} in {tree} recursive')}{inner}{self.show('loop.depth')}{self.loop_tail(depth)}"

    def macro(self, depth):
        name, parameters = self.fresh("m"), [self.fresh("p") for _ in range(self.rng.randint(0, 3))]
        first_default = self.rng.randint(0, len(parameters))
        signature = ", ".join(p if i < first_default else f"{p}={self.any(1)}" for i, p in enumerate(parameters))
        loops, self.loops = self.loops, 0
        saved = list(self.strings)
        self.strings += [f"({p}|string)" for p in parameters]
        inner = self.body(depth - 1)
        self.strings = saved
        if self.chance(0.3):
            inner += self.show(
                self.pick("varargs|length", "kwargs|length", "varargs|join(',')", "kwargs|dictsort|string")
            )
        if self.chance(0.4):
            inner += f"[{self.tag('if caller')}{self.show(self.pick('caller()', 'caller()|upper', 'caller()|trim'))}{self.tag('endif')}]"
        self.loops = loops
        self.macros.append((name, parameters))
        return f"{self.tag(f'macro {name}({signature})')}{inner}{self.tag('endmacro')}{self.show(self.call_macro(2))}"

    def call_block(self, depth):
        if not self.macros or self.chance(0.3):
            name = self.fresh("m")
            arguments = [self.any(1) for _ in range(self.rng.randint(0, 2))]
            text = f"{self.tag(f'macro {name}(x={self.any(0)})')}<{{{{ caller({', '.join(arguments)}) }}}}{self.pick('', '{{ caller }}', '{{ x }}')}>{self.tag('endmacro')}"
            signature = self.pick("(a, b=2)", "(a='q', b=none)", "", "(*args)") if len(arguments) < 3 else ""
            return f"{text}{self.tag(f'call{signature} {name}()')}{self.body(depth - 1)}{self.tag('endcall')}"
        return f"{self.tag(f'call {self.call_macro(1)}')}{self.body(depth - 1)}{self.tag('endcall')}"

    def filter_block(self, depth):
        filters = self.fill("|".join(self.pick(*STRING_FILTERS[:33]) for _ in range(self.rng.randint(1, 2))), 0)
        return f"{self.tag(f'filter {filters}')}{self.body(depth - 1)}{self.tag('endfilter')}"

    def with_block(self, depth):
        name = self.fresh("v")
        head = f"with {name} = {self.string(2)}{self.pick('', f', y = {self.any(1)}')}"
        self.strings.append(name)
        inner = self.body(depth - 1)
        if name in self.strings:
            self.strings.remove(name)
        return f"{self.tag(head)}{inner}{self.tag('endwith')}"

    def generation(self, depth):
        return f"{self.tag('generation')}{self.body(depth - 1)}{self.tag('endgeneration')}"

    def raw(self, depth):
        return self.pick(
            f"{self.tag('raw')} {{{{ s }}}} {self.tag('endraw')}",
            f"{self.space()}{{#- c -#}}{self.space()}",
            f"{self.space()}{{# {{{{ s }}}} #}}\n",
            f"{self.tag('if false')}{{{{ undef.x.y }}}}{self.tag('endif')}",
            self.tag("print " + self.any(1)),
            "{{ raise_exception(" + self.string(1) + ") }}" if self.chance(0.1) else "",
        )


def main():
    warnings.simplefilter("ignore")
    arguments = argparse.ArgumentParser()
    arguments.add_argument(
        "--driver", default=os.path.join(os.environ.get("BUILD", "build"), "tools", "render_template")
    )
    arguments.add_argument("--count", type=int, default=4000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--show", type=int, default=10)
    options = arguments.parse_args()
    if not os.path.exists(options.driver):
        print(f"{options.driver} is missing")
        sys.exit(77)
    sources = [Typed(options.seed * 1000003 + i).body(3, 1, 4) for i in range(options.count)]
    results = run_engine(options.driver, sources)
    if len(results) != len(sources):
        sys.exit(f"the driver answered {len(results)} of {len(sources)} programs")
    wrong = printed = 0
    for source, got in zip(sources, results):
        printed += "output" in got
        difference = compare(source, got)
        if difference:
            wrong += 1
            if wrong <= options.show:
                print(f"[{difference[0]}] {source!r}\n  jinja2: {difference[1]!r}\n  engine: {difference[2]!r}")
    print(f"{len(sources)} programs, {printed} of them without an error, {wrong} differences")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
