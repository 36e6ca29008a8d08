"""JSON whose every key and value knows its line, so that a mistake can be shown where it is. Trailing commas pass."""

import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

DEEPEST = 20
TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
      (?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")
    | (?P<number>-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?(?:[eE][+-]?[0-9]{1,3})?(?![0-9A-Za-z.]))
    | (?P<word>true|false|null)
    | (?P<mark>[{}\[\]:,])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


class JsonMistake(ValueError):
    """The text is no JSON: at this line, for this reason."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


@dataclass(frozen=True)
class Value:
    """A scalar or a list (as plain Python), or an object (as Members)."""

    line: int
    plain: Any


@dataclass(frozen=True)
class Member:
    """One key of an object and its value."""

    line: int
    key: str
    value: Value


Members: TypeAlias = dict[str, Member]


def parse(text: str) -> Value:
    """The one value in the text. An object's ``plain`` is a dict of Member. Raises JsonMistake."""
    reader = _Reader(text)
    value = reader.value(0)
    if reader.kind != "end":
        raise reader.unexpected("the end of the file")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._counted = 0, 1  # a position and its line: lines are counted once, as the reader passes
        self.advance()

    def advance(self) -> None:
        """Read the next token."""
        match = TOKEN.match(self.text, self.position)
        if match is None:
            rest = self.text[self.position :].lstrip(" \t\r\n")
            self.kind, self.token, self.line = "garbage", rest[:20], self._line(len(self.text) - len(rest))
            return
        self.kind, self.token = match.lastgroup or "end", match[match.lastgroup or "end"]
        self.line = self._line(match.start(self.kind))
        self.position = match.end()

    def _line(self, position: int) -> int:
        before, line = self._counted
        self._counted = position, line + self.text.count("\n", before, position)
        return self._counted[1]

    def unexpected(self, wanted: str) -> JsonMistake:
        shown = "".join(c if c.isprintable() else "?" for c in self.token.partition("\n")[0])
        found = "the file ends" if self.kind == "end" else f"{shown} stands"
        return JsonMistake(self.line, f"{found} where {wanted} is expected")

    def value(self, depth: int) -> Value:
        line, kind, token = self.line, self.kind, self.token
        if depth > DEEPEST:
            raise JsonMistake(line, f"more than {DEEPEST} brackets are nested")
        if token == "{" and kind == "mark":
            return Value(line, self.members(depth))
        if token == "[" and kind == "mark":
            return Value(line, self.items(depth))
        if kind not in ("string", "number", "word"):
            raise self.unexpected("a value")
        self.advance()
        return Value(line, json.loads(token))

    def members(self, depth: int) -> Members:
        self.advance()
        found: Members = {}
        while self.token != "}" or self.kind != "mark":
            member = self.member(depth)
            if (first := found.get(member.key)) is not None:
                raise JsonMistake(member.line, f'"{member.key}" is already given in line {first.line}')
            found[member.key] = member
            self.comma_or("}")
        self.advance()
        return found

    def member(self, depth: int) -> Member:
        if self.kind != "string":
            raise self.unexpected('a key in double quotes or "}"')
        line, key = self.line, json.loads(self.token)
        self.advance()
        if self.kind != "mark" or self.token != ":":
            raise self.unexpected(f'":" after "{key}"')
        self.advance()
        return Member(line, key, self.value(depth + 1))

    def items(self, depth: int) -> list[Value]:
        self.advance()
        found: list[Value] = []
        while self.token != "]" or self.kind != "mark":
            found.append(self.value(depth + 1))
            self.comma_or("]")
        self.advance()
        return found

    def comma_or(self, closing: str) -> None:
        if self.kind == "mark" and self.token == ",":
            self.advance()
        elif self.kind != "mark" or self.token != closing:
            raise self.unexpected(f'"," or "{closing}"')
