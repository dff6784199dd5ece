"""Figures of a history: what was acknowledged, sent and sent again, and how soon after a fault all was well."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.system.history import ChangeSent, History, NotifyReceived, State, SubscribeAnswered, SubscribeSent


@dataclass
class Figures:
    """Counts over one or more histories."""

    acknowledged: int = 0
    """Requests of the clients that got a 2xx."""
    refused: int = 0
    """Those that got another final answer; each was then told to wait or to begin anew."""
    notifies: int = 0
    """NOTIFYs that reached a watcher, copies aside."""
    copies: int = 0
    """The same NOTIFY once more: a retransmission, or a datagram that the network doubled."""
    duplicates: int = 0
    """NOTIFYs with a CSeq of their own that told their watcher nothing new, and that it had not asked for."""

    def add(self, history: History) -> None:
        """Count what is in a history."""
        accepted = sum(200 <= response.status < 300 for response in history.responses)
        self.acknowledged += accepted
        self.refused += len(history.responses) - accepted
        total = len(history.notifies)
        different = len({(event.dialog, event.cseq) for event in history.notifies})
        self.notifies += different
        self.copies += total - different
        self.duplicates += sum(1 for _ in duplicates(history))


def duplicates(history: History) -> Iterator[NotifyReceived]:
    """NOTIFYs that are new and say what the one before them in their dialog said, though no SUBSCRIBE asked."""
    before: dict[str, NotifyReceived] = {}
    asked: set[str] = set()
    answered: set[str] = set()
    for event in history.taken():
        if isinstance(event, SubscribeSent):
            asked.add(event.dialog)
            answered.discard(event.dialog)
        elif isinstance(event, SubscribeAnswered):
            answered.add(event.dialog)
        elif isinstance(event, NotifyReceived):
            last = before.get(event.dialog)
            if last is not None and last.cseq == event.cseq:
                continue
            same = last is not None and (last.state, last.subscription) == (event.state, event.subscription)
            if same and event.dialog not in asked:
                yield event
            if same or event.dialog in answered:  # else it may have left before the SUBSCRIBE had come
                asked.discard(event.dialog)
            before[event.dialog] = event


def caught_up(history: History, since: float) -> Mapping[str, float | None]:
    """For each watcher, the seconds from `since` until it was shown a change that was made after that.

    `since` is on the history's clock. None where it was shown none.
    """
    dialogs: dict[str, SubscribeSent] = {}
    found: dict[str, float | None] = {}
    made: dict[str, dict[str, int]] = {}
    for at, event in zip(history.times, history.events, strict=True):
        if isinstance(event, SubscribeSent):
            dialogs[event.dialog] = event
            found.setdefault(event.watcher, None)
        elif isinstance(event, ChangeSent) and at >= since:
            made.setdefault(event.presentity, {}).setdefault(event.publication, event.number)
        elif isinstance(event, NotifyReceived) and event.state is not None and event.dialog in dialogs:
            asked = dialogs[event.dialog]
            if found[asked.watcher] is None and _is_new(event.state, made.get(asked.presentity, {})):
                found[asked.watcher] = at - since
    return found


def _is_new(state: State, made: Mapping[str, int]) -> bool:
    return any(state.get(publication, 0) >= number for publication, number in made.items())
