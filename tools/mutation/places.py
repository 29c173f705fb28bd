"""Where mutants go: the rooms, the lines of code in their files, the rules, and an even sample over the lines."""

import contextlib
import io
import os
import random
import re

ROOMS = {
    "base": ["src/base"],
    "tensor": ["src/tensor"],
    "device": ["src/device/device.c", "src/device/ref"],
    "device/cpu": ["src/device/cpu"],
    "format": ["src/format"],
    "model": ["src/model"],
    "engine": ["src/engine"],
    "text": ["src/text"],
    "store": ["src/store"],
    "monitor": ["src/monitor"],
    "cli": ["src/cli"],
    "server": ["src/server"],
}
RULES = ["universal.rules", "c_like.rules"]
MAX_TRIES = 80  # mutants of one place that do not compile or change nothing, before giving up


def room_of(path):
    inside = [(len(folder), room) for room, folders in ROOMS.items() for folder in folders if path.startswith(folder)]
    return max(inside)[1] if inside else "other"


def files_of(room, known):
    """The files of a room that the compiler reads here."""
    return [path for path in known if room_of(path) == room]


class Mutant:
    """One changed line. `before` and `after` are without comments; `after` may be several lines."""

    def __init__(self, path, number, before, after, rule):
        self.path, self.number, self.before, self.after, self.rule = path, number, before, after, rule

    def diff(self):
        lines = ["- " + self.before.strip()] + ["+ " + line.strip() for line in self.after.rstrip("\n").split("\n")]
        return "\n".join(lines)

    def key(self):
        return (self.path, squeeze(self.before), squeeze(self.after))


def squeeze(text):
    return " ".join(text.split())


# ---- reading C ----

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def without_comments(text):
    """The same lines; a comment becomes nothing or, inside a line, a space."""

    def replace(match):
        token = match.group()
        return "\n" * token.count("\n") if token.startswith("/") else token

    return [line.rstrip() for line in TOKEN.sub(replace, text).split("\n")]


def without_strings(line):
    return TOKEN.sub(lambda match: '""' if match.group()[0] == '"' else match.group(), line)


DECLARATION = re.compile(
    r"\s*(?:(?:const|static|extern|unsigned|struct|enum|union|volatile)\s+)*\w+[\s*]+\w+(?:\[[^\]]*\])*"
    r"(?:,\s*\**\w+(?:\[[^\]]*\])*)*;"
)
# Messages for people: a test need not compare them word for word.
MESSAGE = re.compile(
    r"\b(?:pn_fail|pn_vfail|pn_fail_prefix|pn_error_of|pn_no_memory|pn_cli_fail|pn_say\w*|fprintf|perror)\s*\("
)


class Source:
    """A C file with the lines that mutants may change."""

    def __init__(self, root, path):
        self.path = path
        with open(os.path.join(root, path), encoding="utf-8") as file:
            self.lines = file.read().split("\n")
        self.code = without_comments("\n".join(self.lines))
        self.places = [n for n in range(len(self.code)) if self.is_code(n)]

    def is_code(self, n):
        line, previous = self.code[n], self.code[n - 1] if n else ""
        if not re.search(r"\w", without_strings(line).replace('""', "")) or line.lstrip().startswith("#"):
            return False
        if line[0] not in " \t}" and "=" not in line and not self.path.endswith(".def"):
            return previous.endswith("\\")  # a signature or a declaration of the file; but the rows of a macro are code
        return not DECLARATION.fullmatch(line.rstrip("\\ ")) and not self.only_message(n)

    def statement(self, n):
        """The text of the statement before line n."""
        first = n
        while first and n - first < 12 and not re.search(r"[;{}:]$|^$|^\s*#", self.code[first - 1]):
            first -= 1
        return "\n".join(self.code[first:n] + [""]) if first < n else ""

    def message_at(self, n):
        """The column where the words of a message begin in line n, or its length."""
        before, line = self.statement(n), self.code[n]
        call = MESSAGE.search(before + line)
        text = call and (before + line).find('"', call.end())
        return max(text - len(before), 0) if call and text >= 0 else len(line)

    def only_message(self, n):
        line = self.code[n]
        return self.message_at(n) <= len(line) - len(line.lstrip())

    def ends_loop(self, n):
        """Whether line n is the last one in the braces of a loop: to continue there changes nothing."""
        following = next((line for line in self.code[n + 1 :] if line.strip()), "")
        indent = len(following) - len(following.lstrip())
        if following.strip() != "}" or len(self.code[n]) - len(self.code[n].lstrip()) != indent + 4:
            return False
        for line in reversed(self.code[:n]):
            if line.strip() and len(line) - len(line.lstrip()) <= indent:
                return bool(re.match(r"\s*(?:for|while)\b.*\{$", line))
        return False

    def mutants(self, n):
        """All mutants of a line, by rule."""
        line, tail = self.code[n], ""
        if line.endswith("\\"):
            line, tail = line[:-1].rstrip(), " \\"
        words, rules = self.message_at(n), {}
        for after, rule in apply_rules(line):
            if without_strings(after) == without_strings(line) or not after.strip():
                continue
            # A whole statement may go, but words may not change.
            if "/*" not in after and "\n" not in after and common_prefix(line, after) > words:
                continue
            after = "\n".join(part + tail for part in after.split("\n"))
            rules.setdefault(rule, []).append(Mutant(self.path, n + 1, self.code[n], after, rule))
        return rules


# ---- mutants that change nothing on any line ----

CALL = re.compile(r"\b(calloc|strcmp|pn_arena_array|pn_jj_array)\s*\(((?:[^()]|\([^()]*\))*)\)")
RACE = re.compile(r"/\*\s*pthread_(?:mutex_lock|mutex_destroy|cond_destroy)\(.*\);\*/$")
# The smaller or larger of two, and a difference that is not below 0.
NAME = r"[\w.>\[\]-]+"
BEGINS = r"(?:^|(?<=[^=!<>]= )|(?<=[(?:])|(?<=[(,?:] )|(?<=return )|(?<=&& )|(?<=\|\| ))"
CHOICE = re.compile(rf"{BEGINS}({NAME}) ([<>])=? ({NAME}) \? ({NAME}(?: - {NAME})?) : ({NAME})(?=[;,)\]]|$)")
# Calls that return 0, or -1 when they fail.
FAILS = (
    "access|chdir|clock_gettime|close|closedir|flock|fstat|fstatat|fsync|getrlimit|kill|lstat|madvise|mkdir|munmap|rename|"
    "rmdir|sched_getaffinity|setrlimit|sigaction|stat|statvfs|sync_fd|sysctlbyname|truncate|unlink|unlinkat"
)
SYSTEM = re.compile(rf"\b((?:{FAILS})\s*\((?:[^()]|\([^()]*\))*\)) (<|>=) 0(?![\w.])")
LARGER = re.compile(r"([\[(])\((\d+)\+1\)")


def sort_arguments(line):
    """Arrays of n items of a size, and strcmp where only equality is asked for, do not depend on the order of their arguments."""

    def replace(match):
        name, arguments = match.groups()
        asks_equality = re.match(r"\s*[!=]= 0", line[match.end() :]) or re.search(r"!\s*$", line[: match.start()])
        parts, depth, begin = [], 0, 0
        for i, c in enumerate(arguments):
            depth += (c in "([") - (c in ")]")
            if c == "," and depth == 0:
                parts.append(arguments[begin:i].strip())
                begin = i + 1
        parts.append(arguments[begin:].strip())
        if name == "strcmp" and not asks_equality:
            return match.group()
        return f"{name}({', '.join(sorted(parts))})"

    return CALL.sub(replace, line)


def forget_ties(line):
    """Of equals either is the smaller, and their difference is 0."""

    def replace(match):
        a, sign, b, yes, no = match.groups()
        if sorted((yes, no)) == sorted((a, b)) or (no == "0" and yes in (f"{a} - {b}", f"{b} - {a}")):
            return f"{a} {sign} {b} ? {yes} : {no}"
        return match.group()

    return CHOICE.sub(replace, line)


def ask_for_failure(line):
    return SYSTEM.sub(lambda match: f"{match[1]} {'!=' if match[2] == '<' else '=='} 0", line)


def changes_nothing(before, after):
    """The reason why a mutant of any file need not be noticed, or None."""
    if squeeze(forget_ties(before)) == squeeze(forget_ties(after)):
        return "of equals either is the smaller"
    if squeeze(ask_for_failure(before)) == squeeze(ask_for_failure(after)):
        return "it returns 0 or -1"
    if squeeze(sort_arguments(before)) == squeeze(sort_arguments(after)):
        return "the order of these arguments does not matter"
    if RACE.search(after.strip()):
        return "a data race or a leaked lock: the thread sanitizer's and the leak checker's to find"
    smaller = squeeze(LARGER.sub(r"\1\2", after))
    if smaller == squeeze(before) and (re.search(r"\bcalloc\(\(\d", after) or is_array_declaration(before, after)):
        return "room for one more that nobody uses"
    return None


def only_continues(root, mutant):
    """A loop that would start its next round anyway."""
    return squeeze(mutant.after) == squeeze(mutant.before + " continue;") and Source(root, mutant.path).ends_loop(
        mutant.number - 1
    )


def is_array_declaration(before, after):
    """The number that grew is the length of an array that the line declares."""
    at = LARGER.search(after)
    name = re.search(r"(\w+)$", after[: at.start()]) if at else None
    return bool(
        name
        and at.group(1) == "["
        and re.match(r"\s*(?:static |const |unsigned |struct )*\w+[\s*]", before)
        and re.search(r"(?:^|,|[\w*]\s)\s*\**" + re.escape(name.group(1)) + r"\[\d+\](?:\[|\s*[,;=])", before)
        and not before.lstrip().startswith("return")
    )


def common_prefix(a, b):
    return len(os.path.commonprefix([a, b]))


def apply_rules(line):
    """(mutated line, rule) of the library's rules for C. It also writes explanations on standard output, which are dropped."""
    from universalmutator import mutator

    with contextlib.redirect_stdout(io.StringIO()):
        found = mutator.mutants_regexp([line + "\n"], ruleFiles=RULES, ignorePatterns=[], ignoreStringOnly=True)
    return [(after.rstrip("\n"), pattern.pattern) for _, after, _, (pattern, _) in found]


# ---- the sample ----


class Slot:
    """A stretch of lines that gives one mutant: the first that compiles and differs of those drawn from it."""

    def __init__(self, room, index, places, rng, part=(0, 1)):
        self.room, self.index, self.places, self.rng, self.part = room, index, places, rng, part

    def candidates(self):
        """Draws a line, then a rule of that line, then a mutant, so that a line full of numbers has no more weight."""
        places = list(self.places)
        self.rng.shuffle(places)
        tried = 0
        for source, n in places:
            rules = source.mutants(n)
            drawn = []
            while rules:
                rule = self.rng.choice(sorted(rules))
                drawn.append(rules[rule].pop(self.rng.randrange(len(rules[rule]))))
                if not rules[rule]:
                    del rules[rule]
            for mutant in drawn[self.part[0] :: self.part[1]]:
                yield mutant
                tried += 1
                if tried >= MAX_TRIES:
                    return


def sample(room, sources, n, seed, only_lines=None):
    """n slots, spread evenly over the lines of the files."""
    places = [
        (source, line)
        for source in sources
        for line in source.places
        if only_lines is None or line + 1 in only_lines.get(source.path, ())
    ]
    slots = []
    for i in range(n if places else 0):
        rng = random.Random(f"{seed} {room} {i}")
        if len(places) >= n:
            slots.append(Slot(room, i, places[i * len(places) // n : (i + 1) * len(places) // n], rng))
        else:  # several mutants per line: all slots of a line draw in the same order and share the drawn mutants
            place, turn = i % len(places), i // len(places)
            same = random.Random(f"{seed} {room} {place}")
            slots.append(Slot(room, i, [places[place]], same, (turn, -(-(n - place) // len(places)))))
    return slots
