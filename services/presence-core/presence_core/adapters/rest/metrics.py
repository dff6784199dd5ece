"""The metrics of REST."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vedette.counting import Distribution, Tally
from vedette.runtime.metrics import Kind, Metric

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class CountedAnswers:
    """Around the application: counts what it answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.answers = Tally()
        """By method and status."""
        self.seconds = Distribution()
        """Until the answer began."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = time.monotonic()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in METHODS else "other"
                self.answers.add(method, str(message["status"]))
                self.seconds.add(time.monotonic() - begun)
            await send(message)

        await self._app(scope, receive, sending)


METRICS: tuple[Metric[CountedAnswers], ...] = (
    Metric(
        "vedette_rest_answers_total",
        Kind.COUNTER,
        "Answers of the admin REST.",
        lambda rest: rest.answers,
        ("method", "code"),
    ),
    Metric("vedette_rest_seconds", Kind.HISTOGRAM, "How long they took to begin.", lambda rest: rest.seconds),
)
