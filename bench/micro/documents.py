"""What a notifier composes, whom rules let in, and the NOTIFY that it hands over."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.micro.benchmark import Benchmark, Work
from bench.micro.samples import ALICE, NOON, PIDF, claim, dialog
from notifier.domain.claims import notify_item
from notifier.domain.views import digest_of
from vedette.documents import pidf
from vedette.documents.dialog_info import PublishedDialogs
from vedette.documents.dialog_info import compose as compose_dialogs
from vedette.documents.pidf import PublishedDocument
from vedette.documents.versioned import VersionedDocument
from vedette.documents.watcherinfo import Watcher
from vedette.documents.watcherinfo import compose as compose_watchers
from vedette.documents.xpidf import compose as compose_xpidf
from vedette.rpc.contract import Document, NotifyItem
from vedette.rules.document import COMMON_POLICY, PRES_RULES, RuleSet, read_rules
from vedette.rules.ruling import ACTIVE, REJECTED, Defaults, Rulebook, judge

WATCHERS = 1000
ROWS = 20

_RICH = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf" '
    'xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" '
    'entity="sip:alice@example.com"><tuple id="t{0}"><status><basic>{1}</basic></status>'
    "<contact>sip:alice@192.0.2.{0}:5060</contact><note>On phone {0}</note></tuple>"
    '<dm:person id="p{0}"><rpid:activities><rpid:on-the-phone/></rpid:activities></dm:person></presence>'
)
_DIALOGS = (
    '<?xml version="1.0"?>\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{0}" state="full" '
    'entity="sip:alice@example.com"><dialog id="c{0}" call-id="c{0}@192.0.2.10" local-tag="l{0}" remote-tag="r{0}" '
    'direction="recipient"><state>confirmed</state><local><identity>sip:alice@example.com</identity></local>'
    "<remote><identity>sip:bob@example.net</identity></remote></dialog></dialog-info>"
)
_RULES = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<ruleset xmlns="{COMMON_POLICY}" xmlns:pr="{PRES_RULES}">'
    '<rule id="friends"><conditions><identity>{0}</identity></conditions><actions><pr:sub-handling>allow'
    "</pr:sub-handling></actions><transformations><pr:provide-persons><pr:all-persons/></pr:provide-persons>"
    "<pr:provide-services><pr:all-services/></pr:provide-services><pr:provide-activities>true"
    "</pr:provide-activities></transformations></rule>"
    '<rule id="colleagues"><conditions><identity><many domain="example.org"/></identity></conditions><actions>'
    "<pr:sub-handling>polite-block</pr:sub-handling></actions></rule>"
    '<rule id="strangers"><conditions><identity><one id="sip:mallory@example.net"/></identity></conditions><actions>'
    "<pr:sub-handling>block</pr:sub-handling></actions></rule></ruleset>"
)


def _check(_times: int) -> Work:
    return lambda _number: pidf.check(PIDF)


def _published(count: int) -> list[PublishedDocument]:
    return [
        PublishedDocument(_RICH.format(number, "open" if number else "closed").encode(), f"{number:06x}")
        for number in range(count)
    ]


def _pidf(documents: Sequence[PublishedDocument]) -> Work:
    return lambda _number: pidf.compose(ALICE, documents)


def _xpidf(_times: int) -> Work:
    documents = _published(1)
    return lambda _number: compose_xpidf(ALICE, documents)


def _dialog_info(count: int) -> Work:
    published = [PublishedDialogs(_DIALOGS.format(number).encode(), f"{number:06x}") for number in range(count)]
    return lambda _number: compose_dialogs(ALICE, published)


def _watcher_information(_times: int) -> Work:
    watchers = [
        Watcher(f"{number:024x}", f"sip:watcher{number}@example.net", "active", "subscribe", "Watcher", 600, 12)
        for number in range(ROWS)
    ]
    return lambda _number: compose_watchers(ALICE, "presence", watchers, full=True)


def _put_version(_times: int) -> Work:
    document = compose_watchers(ALICE, "presence", (), full=True)
    return lambda number: document.with_version(number)


def _digest(_times: int) -> Work:
    document = Document("application/pidf+xml", PIDF)
    return lambda _number: digest_of(document)


def _judge(_times: int) -> Work:
    """Half of the watchers are named, the others match nothing."""
    named = "".join(f'<one id="sip:watcher{number}@example.net"/>' for number in range(0, WATCHERS, 2))
    rules = read_rules(_RULES.format(named).encode())
    assert isinstance(rules, RuleSet)
    book = Rulebook(1, rules)
    watchers = [(f"watcher{number}", "example.net") for number in range(WATCHERS)]
    defaults = Defaults()

    def work(_number: int) -> object:
        return [judge(book, defaults, watcher, ALICE, "presence", None, NOON) for watcher in watchers]

    return work


def _item(times: int) -> Work:
    owed = [(claim(number), dialog(number)) for number in range(times)]
    digest = bytes(16)
    return lambda number: notify_item(*owed[number], 0, 0, digest, NOON, "n1")


def _elements(mark: bytes, count: int) -> Callable[[Any], bool]:
    """Whether a document has so many of them."""

    def is_true(result: Any) -> bool:
        body = result.body if isinstance(result, VersionedDocument) else result
        return isinstance(body, bytes) and body.count(mark) == count

    return is_true


def _are_judged(rulings: Any) -> bool:
    let_in = [ruling for ruling in rulings if ruling.status == ACTIVE]
    refused = [ruling for ruling in rulings if ruling.status == REJECTED]
    return len(let_in) == len(refused) == WATCHERS // 2 and all(len(ruling.shows) > 1 for ruling in let_in)


BENCHMARKS = (
    Benchmark("document: PIDF checked", _check, lambda result: result is None),
    Benchmark("compose: PIDF of 1 publication", lambda _: _pidf(_published(1)), _elements(b"<tuple ", 1), 10),
    Benchmark("compose: PIDF of 5 publications", lambda _: _pidf(_published(5)), _elements(b"<tuple ", 5), 5),
    Benchmark("compose: XPIDF of 1 publication", _xpidf, _elements(b"<atom ", 1), 10),
    Benchmark("compose: dialog-info of 1 call", lambda _: _dialog_info(1), _elements(b"<dialog ", 1), 10),
    Benchmark("compose: dialog-info of 5 calls", lambda _: _dialog_info(5), _elements(b"<dialog ", 5), 5),
    Benchmark(f"compose: {ROWS} watchers", _watcher_information, _elements(b"<watcher ", ROWS), 10),
    Benchmark("compose: version put in", _put_version, lambda result: b' version="" ' not in result, 200),
    Benchmark("compose: digest", _digest, lambda result: len(result) == 16),
    Benchmark(f"rules: {WATCHERS} watchers judged", _judge, _are_judged, 1),
    Benchmark(
        "notifier: NOTIFY of a claim",
        _item,
        lambda result: isinstance(result, NotifyItem) and result.subscription_state == "active;expires=600",
    ),
)
