"""A reader of Prometheus's expressions, as far as our alerts and dashboard go: what is no expression is refused."""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?![\w:]))|(?P<duration>\d+(?:ms|[smhdwy])(?!\w))|(?P<name>[A-Za-z_:][\w:]*)"
    r"|(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],]))"
)
AGGREGATES = {"sum", "min", "max", "avg", "count", "topk", "quantile", "group"}
FUNCTIONS = {"rate": "range", "increase": "range", "absent": "instant", "histogram_quantile": "instant", "time": ""}
COMPARING = {"==", "!=", ">", "<", ">=", "<="}
WORDS = {"and", "or", "unless"}
BINARY = COMPARING | WORDS | set("+-*/%^")


class PromqlError(ValueError):
    """The text is no expression."""


@dataclass
class Found:
    """What an expression names."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    """The labels that matchers name, by metric."""
    grouped_by: set[str] = field(default_factory=set)


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None:
                raise PromqlError(f"{text[at:]!r} in {text!r}")
            assert match.lastgroup is not None
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.at = 0
        self.found = Found()

    @property
    def next(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, *wanted: str) -> str:
        kind, text = self.next
        if wanted and text not in wanted and kind not in wanted:
            raise PromqlError(f"{text or 'the end'!r} where {' or '.join(wanted)} belongs")
        self.at += 1
        return text

    def expression(self) -> str:
        kind = self.operand()
        while self.next[1] in BINARY and self.next[0] != "text":
            self.take()
            if self.next[1] in {"on", "ignoring"}:
                self.take()
                self.names()
            if "range" in {kind, self.operand()}:
                raise PromqlError("an operator between ranges")
        return kind

    def operand(self) -> str:
        kind, text = self.next
        if text == "(":
            self.take()
            inner = self.expression()
            self.take(")")
            return inner
        if kind == "number":
            self.take()
            return "instant"
        if kind != "name" or text in WORDS:
            raise PromqlError(f"{text or 'the end'!r} where an operand belongs")
        if text in AGGREGATES:
            return self.aggregate()
        return self.function() if text in FUNCTIONS else self.selector()

    def aggregate(self) -> str:
        self.take()
        if self.next[1] in {"by", "without"}:
            self.take()
            self.found.grouped_by |= self.names()
        self.take("(")
        if self.expression() == "range":
            raise PromqlError("an aggregate of ranges")
        self.take(")")
        return "instant"

    def function(self) -> str:
        name = self.take()
        self.take("(")
        kinds = []
        while self.next[1] != ")":
            kinds.append(self.expression())
            if self.next[1] != ")":
                self.take(",")
        self.take(")")
        if (kinds[-1] if kinds else "") != FUNCTIONS[name]:
            raise PromqlError(f"{name} of {kinds}")
        return "instant"

    def selector(self) -> str:
        labels = self.found.metrics.setdefault(self.take("name"), set())
        if self.next[1] == "{":
            self.take()
            while self.next[1] != "}":
                labels.add(self.take("name"))
                operator = self.take("=", "!=", "=~", "!~")
                value = self.take("text")
                if "~" in operator:
                    re.compile(value[1:-1])
                if self.next[1] != "}":
                    self.take(",")
            self.take("}")
        if self.next[1] == "[":
            self.take()
            self.take("duration")
            self.take("]")
            return "range"
        return "instant"

    def names(self) -> set[str]:
        self.take("(")
        found = set()
        while self.next[1] != ")":
            found.add(self.take("name"))
            if self.next[1] != ")":
                self.take(",")
        self.take(")")
        return found


def read(expression: str) -> Found:
    """What an expression names; PromqlError where it is none."""
    reader = _Reader(expression)
    if reader.expression() == "range":
        raise PromqlError("a range cannot be shown")
    reader.take("end")
    return reader.found
