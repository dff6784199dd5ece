"""What the clients of a load sent, got and saw, in the order it happened to them, and the promises it is held to.

A publication has a name that is used once, and its states have rising numbers, each used once. So a document tells
which states it shows, and a state that is older, lost, refused or invented can be told from one that is right.
Every check gives what is wrong, one line each: `violations` must never happen, `disturbances` only where a process
died, `late_copies` only where the network keeps datagrams back or a process died.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

State = Mapping[str, int]
"""The publications that a document shows, each with the number of its state."""

NOTHING: State = {}
GONE = math.inf
"""Where a publication stands that was removed: after all its numbers."""
UNDECIDED = frozenset({408, 504})
"""Final answers that leave it open whether the request was carried out."""


@dataclass(frozen=True)
class ChangeSent:
    """A PUBLISH that makes a state, or removes the publication, left for the first time."""

    presentity: str
    publication: str
    number: int
    removes: bool = False


@dataclass(frozen=True)
class ChangeAnswered:
    """Its final response came."""

    publication: str
    number: int
    status: int


@dataclass(frozen=True)
class SubscribeSent:
    """A SUBSCRIBE left: the first one of a dialog, a refresh, or with expires 0 the last one."""

    presentity: str
    dialog: str
    expires: int
    watcher: str = ""


@dataclass(frozen=True)
class SubscribeAnswered:
    """Its final response came; `tag` is the server's tag in a 2xx."""

    dialog: str
    status: int
    tag: str = ""


@dataclass(frozen=True)
class DialogLeft:
    """The watcher has given the dialog up without a word: its connection broke before there was an answer."""

    dialog: str


@dataclass(frozen=True)
class DialogMoved:
    """The watcher has a new connection and subscribes over it: what is outstanding on the old one is superseded."""

    dialog: str


@dataclass(frozen=True)
class NotifyReceived:
    """A NOTIFY came, for the first time or again; `state` is None where it carries no document."""

    dialog: str
    cseq: int
    branch: str
    subscription: str
    """`active`, `pending` or `terminated`."""
    state: State | None
    tag: str = ""
    """The server's."""


@dataclass(frozen=True)
class NotifyAnswered:
    """The watcher has sent its response to the NOTIFY."""

    dialog: str
    cseq: int


@dataclass(frozen=True)
class ResponseReceived:
    """Any final response to any request of a client."""

    client: str
    method: str
    status: int
    retry_after: str | None


Event = (
    ChangeSent
    | ChangeAnswered
    | SubscribeSent
    | SubscribeAnswered
    | DialogLeft
    | DialogMoved
    | NotifyReceived
    | NotifyAnswered
    | ResponseReceived
)


class History:
    """The events of all clients in one order, each with its time: what stands later happened later."""

    def __init__(self, events: Iterable[Event] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        """Seconds on the clock, one for each event."""
        self._clock = clock
        for event in events:
            self.record(event)

    def record(self, event: Event) -> None:
        """Add what just happened."""
        self.events.append(event)
        self.times.append(self._clock())

    @property
    def responses(self) -> list[ResponseReceived]:
        """Every final response."""
        return [event for event in self.events if isinstance(event, ResponseReceived)]

    @property
    def notifies(self) -> list[NotifyReceived]:
        """Every NOTIFY, retransmissions included."""
        return [event for event in self.events if isinstance(event, NotifyReceived)]

    def taken(self) -> Iterator[Event]:
        """All events but the NOTIFYs that a watcher refuses: those that come after a newer one (RFC 3261 12.2.2)."""
        highest: dict[str, int] = {}
        for event in self.events:
            if isinstance(event, NotifyReceived):
                if event.cseq < highest.get(event.dialog, 0):
                    continue
                highest[event.dialog] = event.cseq
            yield event

    def acknowledged(self) -> int:
        """How many changes got a 2xx."""
        return sum(isinstance(event, ChangeAnswered) and 200 <= event.status < 300 for event in self.events)

    def changes(self) -> dict[str, list["Change"]]:
        """What became of every change, by publication, in the order they were sent."""
        answers = {
            (event.publication, event.number): event.status
            for event in self.events
            if isinstance(event, ChangeAnswered)
        }
        found: dict[str, list[Change]] = defaultdict(list)
        for event in self.events:
            if isinstance(event, ChangeSent):
                found[event.publication].append(Change(event, answers.get((event.publication, event.number))))
        return found

    def presentities(self) -> dict[str, str]:
        """Whose each publication is."""
        return {event.publication: event.presentity for event in self.events if isinstance(event, ChangeSent)}

    def open_dialogs(self) -> dict[str, str]:
        """The dialogs that are alive for their watchers at the end, and whom they watch."""
        found: dict[str, str] = {}
        asked: dict[str, SubscribeSent] = {}
        over: set[str] = set()
        for event in self.events:
            match event:
                case SubscribeSent():
                    asked[event.dialog] = event
                case SubscribeAnswered(status=200) if asked[event.dialog].expires and event.dialog not in over:
                    found[event.dialog] = asked[event.dialog].presentity
                case SubscribeAnswered(status=200) | SubscribeAnswered(status=481) | DialogLeft():
                    found.pop(event.dialog, None)
                case NotifyReceived(subscription="terminated"):
                    over.add(event.dialog)
                    found.pop(event.dialog, None)
        return found

    def last_states(self) -> dict[str, State]:
        """What the last NOTIFY with a document showed in each dialog."""
        return {
            event.dialog: event.state
            for event in self.taken()
            if isinstance(event, NotifyReceived) and event.state is not None
        }


@dataclass(frozen=True)
class Change:
    """A change and its answer, None where none came."""

    sent: ChangeSent
    status: int | None

    @property
    def acknowledged(self) -> bool:
        """Whether the server has said that it is done."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether the server has said that it is not done, and never will be."""
        return self.status is not None and not self.acknowledged and self.status not in UNDECIDED

    @property
    def position(self) -> float:
        """Where the publication stands after it."""
        return GONE if self.sent.removes else self.sent.number


def violations(history: History, stored: Mapping[str, State], dialogs: Sequence[str] | None = None) -> list[str]:
    """Everything that must never happen.

    `stored` is what the database has of each presentity at the end, `dialogs` the Call-IDs of the dialogs that it
    has, as often as it has them; None where nobody has looked.
    """
    return [
        *lost_changes(history, stored),
        *dialogs_made_twice(history),
        *([] if dialogs is None else wrong_dialogs(history, dialogs)),
        *states_from_nowhere(history, stored),
        *steps_back(history),
        *stale_starts(history),
        *wrong_cseqs(history),
        *words_after_the_end(history),
        *not_converged(history, stored),
    ]


def disturbances(history: History) -> list[str]:
    """What a watcher may see where a process died, and only there."""
    return [*two_outstanding(history), *overtaken_notifies(history), *repeated_ends(history)]


def lost_changes(history: History, stored: Mapping[str, State]) -> Iterator[str]:
    """Acknowledged changes that are neither stored nor superseded by a later one (invariant 1)."""
    owners = history.presentities()
    for publication, changes in history.changes().items():
        acknowledged = [change for change in changes if change.acknowledged]
        if not acknowledged:
            continue
        last = acknowledged[-1]
        number = stored.get(owners[publication], NOTHING).get(publication)
        may_be_gone = any(change.sent.removes and not change.refused for change in changes)
        position = number if number is not None else GONE if may_be_gone else 0
        if position < last.position:
            yield f"{publication}: {_told(last.position)} was acknowledged, stored is {_told(position)}"


def states_from_nowhere(history: History, stored: Mapping[str, State]) -> Iterator[str]:
    """States that are stored or were seen although they were refused or nobody had sent them yet."""
    refused = {
        (publication, change.sent.number)
        for publication, changes in history.changes().items()
        for change in changes
        if change.refused
    }
    sent: set[tuple[str, int]] = set()

    def judge(state: State, presentity: str, where: str) -> Iterator[str]:
        for publication, number in state.items():
            if (publication, number) in refused:
                yield f"{where}: {publication} {number} was refused and is there"
            elif (publication, number) not in sent:
                yield f"{where}: {publication} {number} was never sent"
            elif owners[publication] != presentity:
                yield f"{where}: {publication} {number} belongs to {owners[publication]}"

    owners = history.presentities()
    watched = _watched(history)
    for event in history.events:
        if isinstance(event, ChangeSent):
            sent.add((event.publication, event.number))
        elif isinstance(event, NotifyReceived) and event.state is not None:
            yield from judge(event.state, watched.get(event.dialog, ""), f"dialog {event.dialog}")
    for presentity, state in stored.items():
        yield from judge(state, presentity, f"stored of {presentity}")


def steps_back(history: History) -> Iterator[str]:
    """States that a watcher got after newer ones in the same dialog (invariant 3)."""
    removed: set[str] = set()
    seen: dict[str, dict[str, float]] = defaultdict(dict)
    for event in history.taken():
        if isinstance(event, ChangeSent) and event.removes:
            removed.add(event.publication)
        if not isinstance(event, NotifyReceived) or event.state is None:
            continue
        before = seen[event.dialog]
        for publication in before.keys() | event.state.keys():
            old = before.get(publication, 0)
            new = event.state.get(publication, GONE if publication in removed and old else 0)
            if new < old:
                yield (
                    f"dialog {event.dialog}, CSeq {event.cseq}: "
                    f"{publication} went from {_told(old)} back to {_told(new)}"
                )
            before[publication] = max(old, new)


def stale_starts(history: History) -> Iterator[str]:
    """Dialogs whose first NOTIFY is older than what was acknowledged before their SUBSCRIBE left."""
    owners = history.presentities()
    acknowledged: dict[str, dict[str, float]] = defaultdict(dict)
    removed: set[str] = set()
    sent: dict[tuple[str, int], ChangeSent] = {}
    required: dict[str, dict[str, float]] = {}
    started: set[str] = set()
    for event in history.events:
        match event:
            case ChangeSent():
                sent[event.publication, event.number] = event
                if event.removes:
                    removed.add(event.publication)
            case ChangeAnswered() if 200 <= event.status < 300:
                change = sent[event.publication, event.number]
                position = GONE if change.removes else change.number
                acknowledged[owners[event.publication]][event.publication] = position
            case SubscribeSent() if event.dialog not in required:
                required[event.dialog] = dict(acknowledged[event.presentity])
            case NotifyReceived() if event.state is not None and event.dialog not in started:
                started.add(event.dialog)
                for publication, least in required.get(event.dialog, {}).items():
                    position = event.state.get(publication, GONE if publication in removed else 0)
                    if position < least:
                        yield (
                            f"dialog {event.dialog} began with {publication} at {_told(position)}, "
                            f"{_told(least)} had been acknowledged before"
                        )


def wrong_cseqs(history: History) -> Iterator[str]:
    """NOTIFYs whose CSeq was used before for another one (invariant 3)."""
    known: dict[tuple[str, int], NotifyReceived] = {}
    for event in history.notifies:
        if known.setdefault((event.dialog, event.cseq), event) != event:
            yield f"dialog {event.dialog}: CSeq {event.cseq} used again"


def overtaken_notifies(history: History) -> Iterator[str]:
    """NOTIFYs that came for the first time after a newer one: given up, and then sent all the same, too late.

    Their watcher refuses them. Only an edge that was stopped, or that another one replaces, may send one: an edge
    takes nothing that was claimed too long ago, but what it has taken it goes on with. A server whose CSeqs fall for
    good tells its watcher nothing any more (see `not_converged`).
    """
    known: dict[str, set[int]] = defaultdict(set)
    for event in history.notifies:
        seen = known[event.dialog]
        if seen and event.cseq not in seen and event.cseq < max(seen):
            yield f"dialog {event.dialog}: CSeq {event.cseq} came first after {max(seen)}"
        seen.add(event.cseq)


def words_after_the_end(history: History) -> Iterator[str]:
    """NOTIFYs that speak of a live subscription after the one that ended it."""
    ended: set[str] = set()
    for event in history.taken():
        if not isinstance(event, NotifyReceived):
            continue
        if event.subscription == "terminated":
            ended.add(event.dialog)
        elif event.dialog in ended:
            yield f"dialog {event.dialog}: CSeq {event.cseq} is {event.subscription} after the end"


def two_outstanding(history: History) -> Iterator[str]:
    """NOTIFYs that were not answered yet when the next one of their dialog came: two were outstanding (invariant 3).

    Only what a process had in hand that died is given up so; a watcher that subscribes over another connection asks
    for it.
    """
    waiting: dict[str, int] = {}
    answered: set[tuple[str, int]] = set()
    for event in history.taken():
        if isinstance(event, DialogMoved):
            waiting.pop(event.dialog, None)
        elif isinstance(event, NotifyAnswered):
            answered.add((event.dialog, event.cseq))
            if waiting.get(event.dialog) == event.cseq:
                del waiting[event.dialog]
        elif isinstance(event, NotifyReceived) and (event.dialog, event.cseq) not in answered:
            older = waiting.get(event.dialog)
            if older is not None and older != event.cseq:
                yield f"dialog {event.dialog}: CSeq {event.cseq} came while {older} was not answered"
            waiting[event.dialog] = event.cseq


def late_copies(history: History) -> Iterator[str]:
    """NOTIFYs that came again after a newer one: somebody still sends what was given up."""
    highest: dict[str, int] = {}
    for event in history.notifies:
        highest[event.dialog] = max(event.cseq, highest.get(event.dialog, 0))
        if event.cseq < highest[event.dialog]:
            yield f"dialog {event.dialog}: CSeq {event.cseq} came again after {highest[event.dialog]}"


def repeated_ends(history: History) -> Iterator[str]:
    """Ends that were told twice: nobody knew that the watcher had taken the first word."""
    ends: dict[str, int] = {}
    for event in history.notifies:
        if event.subscription == "terminated" and ends.setdefault(event.dialog, event.cseq) != event.cseq:
            yield f"dialog {event.dialog}: CSeq {event.cseq} tells the end again, which was {ends[event.dialog]}"


def dialogs_made_twice(history: History) -> Iterator[str]:
    """SUBSCRIBEs whose copies made another dialog: the server speaks of it with two tags (invariant 2)."""
    tags: dict[str, str] = {}
    for event in history.events:
        if not isinstance(event, SubscribeAnswered | NotifyReceived) or not event.tag:
            continue
        first = tags.setdefault(event.dialog, event.tag)
        if event.tag != first:
            tags[event.dialog] = event.tag
            yield f"dialog {event.dialog} was made twice, with the tags {first} and {event.tag}"


def wrong_dialogs(history: History, dialogs: Sequence[str]) -> Iterator[str]:
    """Dialogs that are stored twice, that were acknowledged and are not stored, or whose end was and that are."""
    there = Counter(dialogs)
    for dialog, count in there.items():
        if count > 1:
            yield f"dialog {dialog} is stored {count} times"
    for dialog in history.open_dialogs().keys() - there.keys():
        yield f"dialog {dialog} was acknowledged and is not stored"
    for dialog in sorted(_ended_dialogs(history) & there.keys()):
        yield f"dialog {dialog} has ended, as its watcher was told, and is stored"


def _ended_dialogs(history: History) -> set[str]:
    """The dialogs whose end a watcher was told of, by the answer to its SUBSCRIBE or by a NOTIFY."""
    asked: dict[str, SubscribeSent] = {}
    ended: set[str] = set()
    for event in history.events:
        match event:
            case SubscribeSent():
                asked[event.dialog] = event
            case SubscribeAnswered(status=200) if not asked[event.dialog].expires:
                ended.add(event.dialog)
            case SubscribeAnswered(status=481) | NotifyReceived(subscription="terminated"):
                ended.add(event.dialog)
    return ended


def not_converged(history: History, stored: Mapping[str, State]) -> Iterator[str]:
    """Dialogs that are alive and were last told something else than what is stored (invariant 4)."""
    states = history.last_states()
    for dialog, presentity in history.open_dialogs().items():
        final = stored.get(presentity, NOTHING)
        if dialog not in states:
            yield f"dialog {dialog} was told nothing of {presentity}"
        elif states[dialog] != final:
            yield f"dialog {dialog} ends with {dict(states[dialog])}, stored of {presentity} is {dict(final)}"


def _watched(history: History) -> dict[str, str]:
    return {event.dialog: event.presentity for event in history.events if isinstance(event, SubscribeSent)}


def _told(position: float) -> str:
    return "its removal" if position == GONE else f"state {position:g}" if position else "nothing"
