"""What a terminal shows after a program has written to it: the part of xterm that curses uses."""

import re

SEQUENCE = re.compile(r"\x1b\[([?>]?)([0-9;]*)([@-~])|\x1b[()][0-9A-B]|\x1b[=>78M]|\x1b\][^\x07]*\x07")


class Screen:
    def __init__(self, columns, lines):
        self.columns, self.lines = columns, lines
        self.alternate = False  # the second screen, which programs of the whole screen use
        self.cursor_hidden = False
        self.colours = False  # a colour was used
        self.clear()

    def clear(self):
        self.x = self.y = 0
        self.top, self.bottom = 0, self.lines - 1  # of the lines that scroll
        self.cells = [[" "] * self.columns for _ in range(self.lines)]
        self.last = " "

    def put(self, c):
        if self.x >= self.columns:
            self.x = 0
            self.move_down()
        self.cells[self.y][self.x] = self.last = c
        self.x += 1

    def scroll(self, first, count):
        """Moves the lines from `first` to the end of those that scroll up, or down if the count is negative."""
        for _ in range(min(abs(count), self.lines)):
            self.cells.pop(first if count > 0 else self.bottom)
            self.cells.insert(self.bottom if count > 0 else first, [" "] * self.columns)

    def move_down(self):
        if self.y == self.bottom:
            self.scroll(self.top, 1)
        elif self.y + 1 < self.lines:
            self.y += 1

    def blank(self, y, first, end):
        self.cells[y][first:end] = [" "] * (min(end, self.columns) - first)

    def control(self, mark, numbers, letter):
        n = [int(v) if v else 0 for v in numbers.split(";")]
        count = max(n[0], 1)
        if mark:
            if letter in "hl" and n[0] == 1049:
                self.alternate = letter == "h"
            elif letter in "hl" and n[0] == 25:
                self.cursor_hidden = letter == "l"
        elif letter in "Hf":
            self.y, self.x = min(count, self.lines) - 1, min(max(n[1] if len(n) > 1 else 1, 1), self.columns) - 1
        elif letter == "A":
            self.y = max(self.y - count, 0)
        elif letter == "B":
            self.y = min(self.y + count, self.lines - 1)
        elif letter == "C":
            self.x = min(self.x + count, self.columns - 1)
        elif letter == "D":
            self.x = max(self.x - count, 0)
        elif letter == "d":
            self.y = min(count, self.lines) - 1
        elif letter == "G":
            self.x = min(count, self.columns) - 1
        elif letter == "J":
            self.blank(self.y, self.x if n[0] == 0 else 0, self.columns)
            for y in range(self.y + 1 if n[0] == 0 else 0, self.lines):
                self.blank(y, 0, self.columns)
        elif letter == "K":
            self.blank(self.y, 0 if n[0] else self.x, self.x + 1 if n[0] == 1 else self.columns)
        elif letter == "X":
            self.blank(self.y, self.x, self.x + count)
        elif letter == "P":
            row = self.cells[self.y]
            del row[self.x : self.x + count]
            row += [" "] * (self.columns - len(row))
        elif letter == "@":
            row = self.cells[self.y]
            row[self.x : self.x] = [" "] * count
            del row[self.columns :]
        elif letter == "b":
            for _ in range(count):
                self.put(self.last)
        elif letter in "LM":
            self.scroll(self.y, count if letter == "M" else -count)
        elif letter in "ST":
            self.scroll(self.top, count if letter == "S" else -count)
        elif letter == "r":
            self.top, self.bottom = count - 1, (n[1] if len(n) > 1 and n[1] else self.lines) - 1
            self.x = self.y = 0
        elif letter == "m":
            self.colours |= any(30 <= v <= 37 or 40 <= v <= 47 or v in (38, 48) or 90 <= v <= 107 for v in n)
        elif letter not in "hltcn":
            raise AssertionError(f"an unknown sequence: {mark}{numbers}{letter}")

    def feed(self, text):
        i = 0
        while i < len(text):
            found = SEQUENCE.match(text, i)
            if found:
                if found.group(0) == "\x1bM" and self.y == self.top:
                    self.scroll(self.top, -1)
                elif found.group(0) == "\x1bM":
                    self.y -= 1
                if found.group(3):
                    self.control(*found.groups())
                i = found.end()
                continue
            c = text[i]
            i += 1
            if c == "\r":
                self.x = 0
            elif c == "\n":
                self.move_down()
            elif c == "\b":
                self.x = max(self.x - 1, 0)
            elif c == "\t":
                self.x = min((self.x // 8 + 1) * 8, self.columns - 1)
            elif c >= " ":
                self.put(c)
        return self

    def text(self):
        return ["".join(row).rstrip() for row in self.cells]
