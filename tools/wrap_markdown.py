#!/usr/bin/env python3
"""Wraps the paragraphs and list items of Markdown at 100 columns: tools/wrap_markdown.py -i|--check FILE...

Code, tables, headings, quotes and HTML stay as they are. A file means the same before and after."""

import re
import sys
import textwrap

COLUMNS = 100
ITEM = re.compile(r"^(\s*(?:[-*+]|\d+[.)])\s+)")
# What begins a line that is not part of a paragraph: heading, table, quote, HTML, a link's address, a rule.
OTHER = re.compile(r"^\s*(?:#|\||>|<|\[[^\]]+\]:|(?:-\s*){3,}$|(?:\*\s*){3,}$|={3,}$)")
# What would mean something else at the beginning of a line keeps the word before it.
LEADER = re.compile(r" (?=(?:[-+*]|#+|\d+[.)])(?: |$)|[|><=])")
SHORT_CODE = re.compile(r"(?<!`)`[^`\n]{1,40}`(?!`)")
GLUE = "\0"


def wrap(text, first="", rest=""):
    """One paragraph; `first` and `rest` begin its first line and the others. Short code spans are not broken."""
    text = SHORT_CODE.sub(lambda code: code.group().replace(" ", GLUE), text)
    text = LEADER.sub(GLUE, text)
    lines = textwrap.wrap(
        text, COLUMNS, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace(GLUE, " ")


def wrap_page(text):
    out, words, indent, fenced, after_item = [], [], ("", ""), False, False

    def end_paragraph():
        if words:
            out.append(wrap(" ".join(words), *indent))
            words.clear()

    for line in text.split("\n"):
        fence = re.match(r"\s*(```|~~~)", line)
        item = ITEM.match(line)
        indented_code = line.startswith("    ") and not words and not after_item
        if fenced or fence or indented_code or not line.strip() or OTHER.match(line):
            end_paragraph()
            out.append(line)
            fenced ^= bool(fence)
            after_item = after_item and (not line.strip() or line.startswith(" ") or fenced)
            continue
        if item:
            end_paragraph()
            indent, after_item = (item.group(1), " " * len(item.group(1))), True
            line = line[item.end() :]
        elif not words:
            begin = re.match(r"\s*", line).group()
            indent, after_item = (begin, begin), after_item and bool(begin)
        hard_break = line.endswith("  ") or line.endswith("\\")
        words += line.split()
        if hard_break:
            out.append(wrap(" ".join(words), *indent) + ("  " if line.endswith("  ") else ""))
            words.clear()
            indent = (indent[1], indent[1])
    end_paragraph()
    return "\n".join(out)


def main(arguments):
    if len(arguments) < 2 or arguments[0] not in ("-i", "--check"):
        print("usage: tools/wrap_markdown.py -i|--check FILE...", file=sys.stderr)
        return 2
    bad = 0
    for path in arguments[1:]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        wrapped = wrap_page(text)
        if wrapped != text and arguments[0] == "--check":
            print(f"{path}: not wrapped at {COLUMNS} columns; `make format` does it")
            bad = 1
        elif wrapped != text:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wrapped)
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
