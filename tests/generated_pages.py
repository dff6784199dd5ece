"""Write the pages that are generated, or say which are stale: `python -m tests.generated_pages [--check]`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests import commands_page, metrics_page, parameters_page, rfc_coverage, vectors_table
from tests.vectors import FOLDER

PARAMETERS = rfc_coverage.ROOT / "docs" / "parameters.md"
METRICS = rfc_coverage.ROOT / "docs" / "metrics.md"
COMMANDS = rfc_coverage.ROOT / "docs" / "cli.md"


def pages() -> Iterator[tuple[Path, str]]:
    """Each page and its text; not the coverage and the vectors where what they show is not there."""
    yield PARAMETERS, parameters_page.page()
    yield METRICS, metrics_page.page()
    yield COMMANDS, commands_page.page()
    if rfc_coverage.CHECKLIST.exists():
        yield rfc_coverage.PAGE, rfc_coverage.current_page()
    if (FOLDER / "index.json").exists():
        yield vectors_table.PAGE, vectors_table.page()


def stale() -> list[str]:
    """A line for each page that is not what it would be written as now."""
    return [
        f"{path.relative_to(rfc_coverage.ROOT)} is stale: run `make docs` and commit it"
        for path, text in pages()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Write the pages; with --check say which are stale, and what is missing in them, and end with 1."""
    if not rfc_coverage.CHECKLIST.exists():
        where = f"{rfc_coverage.CHECKLIST} (VEDETTE_SHARED)"
        sys.stdout.write(f"docs/rfc-coverage.md stays as it is: the RFC checklist is not in {where}\n")
    if "--check" not in sys.argv[1:]:
        for path, text in pages():
            path.write_text(text, encoding="utf-8")
        return
    found = stale()
    if rfc_coverage.CHECKLIST.exists():
        found += rfc_coverage.current_problems()
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
