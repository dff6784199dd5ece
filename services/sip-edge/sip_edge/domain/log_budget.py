"""How often something may be logged that strangers can bring about as often as they like. Pure."""

LINES = 10
"""In a minute; what is beyond them is in the counts."""
MINUTE = 60.0


class LogBudget:
    """`allows` so many lines in a minute."""

    def __init__(self, lines: int = LINES) -> None:
        self._lines = lines
        self._begun = float("-inf")
        self._written = 0

    def allows(self, now: float) -> bool:
        """Whether one more line may be written now, which then counts."""
        if now - self._begun >= MINUTE:
            self._begun, self._written = now, 0
        self._written += 1
        return self._written <= self._lines
