"""The figures as a table."""

from collections.abc import Sequence

from bench.micro.baseline import Row


def lines(rows: Sequence[Row], unit: str, digits: int, notable: float) -> list[str]:
    """A line for each row; what differs from the kept figure by `notable` (0.03: 3 in 100) or more is pointed out."""
    width = max((len(row.name) for row in rows), default=0)
    head = f"{'':{width}}  {unit:>14}  {'kept':>14}  ratio"
    return [head, *(_line(row, width, digits, notable) for row in rows)]


def _line(row: Row, width: int, digits: int, notable: float) -> str:
    figures = "  ".join(
        f"{'-' if figure is None else format(figure, f',.{digits}f'):>14}" for figure in (row.now, row.kept)
    )
    if row.ratio is None:
        return f"{row.name:{width}}  {figures}  {'gone' if row.now is None else 'new'}"
    remark = "  more" if row.ratio >= 1 + notable else "  less" if row.ratio <= 1 - notable else ""
    return f"{row.name:{width}}  {figures}  {row.ratio:5.3f}{remark}"
