"""A statement about principals or grants, read word by word."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import sql_error

_TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*|//[^\n]*|/\*.*?\*/)"
    r"|(?P<string>'(?:[^'\\]|''|\\.)*'|\$\$.*?\$\$)"
    r'|"(?P<quoted>(?:[^"]|"")+)"'
    r"|(?P<word>[\w$]+)"
    r"|(?P<mark>.)",
    re.DOTALL,
)
_SKIPPED = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|//[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)


@dataclass(frozen=True)
class Token:
    """A word, name, string or mark."""

    kind: str
    text: str


def head(sql: str) -> str:
    """The statement without the comments and blanks before it."""
    found = _SKIPPED.match(sql)
    return sql[found.end() :] if found else sql


def tokens(sql: str) -> list[Token]:
    """The tokens of a statement, without comments."""
    found = []
    for token in _TOKEN.finditer(sql):
        kind = str(token.lastgroup)
        if kind != "space":
            found.append(Token(kind, token["quoted"] if kind == "quoted" else token[0]))
    return found


class Words:
    """Tokens that are taken one after the other; a syntax error names the first one that does not fit."""

    def __init__(self, sql: str) -> None:
        self._tokens = tokens(sql)
        while self._tokens and self._tokens[-1] == Token("mark", ";"):
            self._tokens.pop()
        self._at = 0

    def peek(self, ahead: int = 0) -> str:
        """The next word in upper case; empty at the end, and for quoted names and strings."""
        at = self._at + ahead
        if at >= len(self._tokens) or self._tokens[at].kind in ("quoted", "string"):
            return ""
        return self._tokens[at].text.upper()

    def take(self, *words: str) -> bool:
        """Take these words if they come next."""
        if all(self.peek(number) == word for number, word in enumerate(words)):
            self._at += len(words)
            return True
        return False

    def one_of(self, *phrases: str) -> str:
        """Take the first of some phrases that comes next; empty where none does."""
        return next((phrase for phrase in phrases if self.take(*phrase.split())), "")

    def need(self, *words: str) -> None:
        """Take words that must come next."""
        if not self.take(*words):
            raise self.wrong()

    @property
    def done(self) -> bool:
        """Whether all was taken."""
        return self._at >= len(self._tokens)

    def end(self) -> None:
        """Nothing may follow."""
        if not self.done:
            raise self.wrong()

    def name(self) -> str:
        """Take a name, as it is stored: upper case unless it is quoted."""
        token = self._next()
        if token.kind == "quoted":
            return token.text.replace('""', '"')
        if token.kind != "word":
            self._at -= 1
            raise self.wrong()
        return token.text.upper()

    def path(self) -> tuple[str, ...]:
        """Take a name with its database and schema, as far as they are given."""
        names = [self.name()]
        while self.take("."):
            names.append(self.name())
        return tuple(names)

    def value(self) -> str:
        """Take a string, number, word or list in parentheses; a list is joined by commas."""
        token = self._next()
        if token.kind == "string":
            return string(token.text)
        if token == Token("mark", "("):
            values = []
            while not self.take(")"):
                values.append(self.value())
                self.take(",")
            return ",".join(values)
        if token == Token("mark", "-"):
            return "-" + self.value()
        if token.kind == "quoted":
            return token.text.replace('""', '"')
        if token.kind != "word":
            self._at -= 1
            raise self.wrong()
        text = token.text
        while self.peek() == ".":
            self._at += 1
            text += "." + self.name()
        return text

    def settings(self) -> dict[str, str]:
        """Take ``name = value`` as often as it comes."""
        found: dict[str, str] = {}
        while not self.done:
            name = self.name()
            self.need("=")
            found[name] = self.value()
            self.take(",")
        return found

    def wrong(self) -> Exception:
        """The syntax error at the next token."""
        at = self._tokens[self._at].text if self._at < len(self._tokens) else "<EOF>"
        return sql_error(
            1003, "42000", f"SQL compilation error:\nsyntax error line 1 at position 0 unexpected '{at}'."
        )

    def _next(self) -> Token:
        if self.done:
            raise self.wrong()
        self._at += 1
        return self._tokens[self._at - 1]


def string(text: str) -> str:
    """What a written string stands for."""
    if text.startswith("$$"):
        return text[2:-2]
    return re.sub(r"\\(.)|''", lambda found: found[1] or "'", text[1:-1], flags=re.DOTALL)
