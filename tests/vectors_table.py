"""Write docs/vectors.md: each SIP vector with what is expected and what is got. `python -m tests.vectors_table`.

Names and outcomes only; nothing of other people's files. `make docs` writes it with the other generated pages.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.unit.sip.messages import outcome
from tests.unit.sip.test_vectors import DECIDED, FOLDERS, MESSAGES, ROBUSTNESS, as_sent, by_index
from tests.vectors import FOLDER, Vector, vectors

PAGE = Path(__file__).resolve().parent.parent / "docs" / "vectors.md"
HEAD = """# Vectors

What other people's SIP messages are expected to be (`VEDETTE_VECTORS`, an index of its own) and what the reader makes
of them: `accept`, `reject:` and the status of the response, `drop` where nobody answers. `make docs` writes it;
the tests are `tests/unit/sip/test_vectors.py`, and `tests/conformance/test_bad_input.py` on the wire.

A server judges more than its reader: what is accepted here may get 405 or 489 later, and where the index expects such
a code, `accept` meets it. Where the index judges otherwise than we do, the last column has the reason. Where it asks
for robustness only, every outcome meets it.
"""
NO_MESSAGE = {
    ".xml": "no SIP message: a document, read by the tests of documents",
    ".txt": "no SIP message",
    ".json": "cases, read by a test of their own",
    ".hex": "octets as text, no message",
}


def rows() -> Iterator[tuple[str, str, str, str]]:
    """File, expected, got, and a reason where they differ or where it was not read."""
    judged = {vector.path for vector in MESSAGES}
    for folder in FOLDERS:
        for vector in vectors(folder):
            got, reason = _judge(vector) if vector.path in judged else _other(vector)
            yield vector.path, " or ".join(vector.expected), got, reason


def _judge(vector: Vector) -> tuple[str, str]:
    got = outcome(as_sent(vector))
    if vector.path in DECIDED:
        return got, DECIDED[vector.path][1]
    if ROBUSTNESS & set(vector.expected):
        return got, ""
    return got, "" if got in by_index(vector) else "DIFFERS"


def _other(vector: Vector) -> tuple[str, str]:
    return "not read", NO_MESSAGE.get(Path(vector.path).suffix, f"no SIP message: {vector.facts['kind']}")


def page() -> str:
    """The text of the page."""
    found = list(rows())
    counts = Counter(
        "not read" if got == "not read" else "decided" if reason else "met" for _, _, got, reason in found
    )
    summary = (
        f"{len(found)} files: {counts['met']} meet what is expected, {counts['decided']} are judged otherwise for a"
        f" reason, {counts['not read']} are no SIP messages."
    )
    lines = [
        HEAD,
        summary,
        "",
        "| File | Expected | Got | Reason |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    if not (FOLDER / "index.json").exists():
        sys.exit(f"docs/vectors.md stays as it is: the vectors are not in {FOLDER} (VEDETTE_VECTORS)")
    text = page()
    if "| DIFFERS |" in text:
        sys.exit("\n".join(line for line in text.splitlines() if "| DIFFERS |" in line))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
