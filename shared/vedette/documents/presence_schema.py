"""What the schemas of presence allow.

PIDF (RFC 3863), the data model (RFC 4479), RPID (RFC 4480), timed status (RFC 4481), CIPID (RFC 4482) and
capabilities (RFC 5196).
"""

import re
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote

from vedette.documents.content_model import XML_SPACE, Check, Model, Place, Schema

PIDF = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL = f"{PIDF}:data-model"
RPID = f"{PIDF}:rpid"
CIPID = f"{PIDF}:cipid"
CAPABILITIES = f"{PIDF}:caps"
TIMED_STATUS = f"{PIDF}:timed-status"

LANG = "{http://www.w3.org/XML/1998/namespace}lang"
SPACE = "{http://www.w3.org/XML/1998/namespace}space"
MUST_UNDERSTAND = f"{{{PIDF}}}mustUnderstand"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
"""The prefix in the name of a type would mean something else in another document, or nothing."""

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_PRIORITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,20})?"
    r"([Zz]|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?",
    re.ASCII,
)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SEGMENTS = r"(?:[^\s?#%]|%[0-9A-Fa-f]{2})*+"
_URI = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.\-]*+:)?"
    r"(?://(?:[^\s\[\]?#%/@]*+@)?(?:\[[0-9A-Fa-f:.]*+\]|[^\s\[\]?#%/@:]*+)(?::[0-9]{1,5})?(?=[/?#]|\Z))?"
    rf"(?:(?<=:)|(?=/)|(?![^/?#]*:))(?!//){_SEGMENTS}(?:\?(?:{_SEGMENTS}\??)*)?(?:#(?:{_SEGMENTS}\??)*)?"
)
"""As XML Schema takes them, which lets characters pass that a URI has to quote."""


def _anything(text: str) -> str:
    return text


def _nothing(_text: str) -> None:
    return None


def _basic(text: str) -> str | None:
    """`OPEN` means open; whatever else a phone calls itself is not known."""
    word = text.strip(XML_SPACE).lower()
    return word if word in {"open", "closed"} else None


def _uri(text: str) -> str | None:
    text = text.strip(XML_SPACE)
    if not _URI.fullmatch(text):
        text = quote(_BAD_PERCENT.sub("%25", text), safe="%/:=&?~#+!$,;'@()*[]-_.")
    return text if _URI.fullmatch(text) else None


def date_time(text: str) -> str | None:
    """A time as RFC 3339 has it, with upper-case letters, that of Greenwich where it names no zone; None for none."""
    match = _DATE_TIME.fullmatch(text.strip(XML_SPACE))
    if match is None:
        return None
    day, time, fraction, zone = match.groups()
    try:
        datetime.fromisoformat(f"{day}T{time}")
    except ValueError:
        return None
    return f"{day}T{time}{fraction or ''}{(zone or 'Z').upper()}"


def _matching(pattern: re.Pattern[str]) -> Check:
    def check(text: str) -> str | None:
        text = text.strip(XML_SPACE)
        return text if pattern.fullmatch(text) else None

    return check


def _one_of(*words: str) -> Check:
    def check(text: str) -> str | None:
        word = text.strip(XML_SPACE)
        return word if word in words else None

    return check


def _positive(text: str) -> str | None:
    text = text.strip(XML_SPACE)
    return text if _INTEGER.fullmatch(text) and int(text) > 0 else None


def _own(uri: str, places: dict[str, Place]) -> dict[str, Place]:
    return {f"{{{uri}}}{name}": place for name, place in places.items()}


_language = _matching(_LANGUAGE)
_integer = _matching(_INTEGER)
_boolean = _one_of("true", "false", "1", "0")
_URI_TEXT = Model(text=_uri)
_TIME = Model(text=date_time)
_STRING = Model(text=_anything)
_NOTE = Model(text=_anything, attributes={LANG: _language})
_BASIC = Model(text=_basic)

# PIDF

_STATUS = Model(f"{{{PIDF}}}", children=_own(PIDF, {"basic": Place(0, _BASIC, once=True)}), others=1)
_TUPLE = Model(
    f"{{{PIDF}}}",
    attributes={"id": _anything},
    children=_own(
        PIDF,
        {
            "status": Place(0, _STATUS, once=True),
            "contact": Place(2, Model(text=_uri, attributes={"priority": _matching(_PRIORITY)}), once=True),
            "note": Place(3, _NOTE),
            "timestamp": Place(4, _TIME, once=True),
        },
    ),
    others=1,
    makes=(f"{{{PIDF}}}status",),
)

# the data model

_DEVICE_ID = f"{{{DATA_MODEL}}}deviceID"
_PERSON_PLACES = {"note": Place(3, _NOTE), "timestamp": Place(4, _TIME, once=True)}
_PERSON = Model(
    f"{{{DATA_MODEL}}}", attributes={"id": _anything}, children=_own(DATA_MODEL, _PERSON_PLACES), others=1
)
_DEVICE = Model(
    f"{{{DATA_MODEL}}}",
    attributes={"id": _anything},
    children=_own(DATA_MODEL, {**_PERSON_PLACES, "deviceID": Place(2, _URI_TEXT, once=True)}),
    others=1,
    needs=(_DEVICE_ID,),
)

# RPID

_EMPTY = Model()
_TIMED = {"from": date_time, "until": date_time}
_LIVED = {**_TIMED, "id": _anything, MUST_UNDERSTAND: _boolean}
ACTIVITIES = (
    "appointment", "away", "breakfast", "busy", "dinner", "holiday", "in-transit", "looking-for-work",
    "meal", "meeting", "on-the-phone", "performance", "permanent-absence", "playing", "presentation", "shopping",
    "sleeping", "spectator", "steering", "travel", "tv", "unknown", "vacation", "working", "worship",
)  # fmt: skip
"""The elements of activities in the schema of RFC 4480, which has no lunch; without other, which says more."""
_MOODS = (
    "afraid amazed angry annoyed anxious ashamed bored brave calm cold confused contented cranky curious depressed "
    "disappointed disgusted distracted embarrassed excited flirtatious frustrated grumpy guilty happy hot humbled "
    "humiliated hungry hurt impressed in_awe in_love indignant interested invincible jealous lonely mean moody "
    "nervous neutral offended playful proud relieved remorseful restless sad sarcastic serious shocked shy sick "
    "sleepy stressed surprised thirsty worried"
)


def _words(names: str, rank: int = 1) -> dict[str, Place]:
    return {name: Place(rank, _EMPTY) for name in names.split()}


def _described(
    places: dict[str, Place],
    *,
    alone: Iterable[str],
    lived: bool = True,
    notes: bool = True,
    needs_alternative: bool = False,
) -> Model:
    """Notes, and then what the element says: some of its alternatives, or one that stands alone."""
    return Model(
        f"{{{RPID}}}",
        attributes=_LIVED if lived else {},
        any_attribute=lived,
        children=_own(RPID, {**({"note": Place(0, _NOTE)} if notes else {}), **places}),
        others=1,
        alone=frozenset(f"{{{RPID}}}{name}" for name in alone),
        alternatives=1,
        needs_alternative=needs_alternative,
    )


def _surroundings(names: str) -> Place:
    places = _words(names)
    return Place(
        1,
        Model(
            f"{{{RPID}}}",
            children=_own(RPID, places),
            alone=frozenset(_own(RPID, places)),
            alternatives=1,
            needs_alternative=True,
        ),
        once=True,
    )


_SAYING = {"other": Place(1, _NOTE)}
_RELATIONS = "assistant associate family friend self supervisor unknown"
_SERVICES = "courier electronic freight in-person postal unknown"
_SPHERES = "home work unknown"
_PLACES_ARE = {
    "note": Place(0, _NOTE),
    "audio": _surroundings("noisy ok quiet unknown"),
    "video": _surroundings("toobright ok dark unknown")._replace(rank=2),
    "text": _surroundings("uncomfortable inappropriate ok unknown")._replace(rank=3),
}
_PRIVACY = Model(
    f"{{{RPID}}}",
    attributes=_LIVED,
    any_attribute=True,
    children=_own(
        RPID,
        {
            "note": Place(0, _NOTE),
            "unknown": Place(1, _EMPTY, once=True),
            "audio": Place(2, _EMPTY, once=True),
            "text": Place(3, _EMPTY, once=True),
            "video": Place(4, _EMPTY, once=True),
        },
    ),
    others=5,
)
_RPID: dict[str, Model | None] = {
    "activities": _described({**_words(" ".join(ACTIVITIES)), **_SAYING}, alone=("unknown",)),
    "mood": _described({**_words(f"{_MOODS} unknown"), **_SAYING}, alone=("unknown",), needs_alternative=True),
    "class": Model(text=_anything),
    "place-is": Model(f"{{{RPID}}}", attributes=_LIVED, any_attribute=True, children=_own(RPID, _PLACES_ARE)),
    "place-type": _described(_SAYING, alone=("other",), needs_alternative=True),
    "privacy": _PRIVACY,
    "relationship": _described({**_words(_RELATIONS), **_SAYING}, alone=(*_RELATIONS.split(), "other"), lived=False),
    "service-class": _described(_words(_SERVICES), alone=_SERVICES.split(), lived=False, needs_alternative=True),
    "sphere": _described(_words(_SPHERES), alone=_SPHERES.split(), notes=False),
    "status-icon": Model(text=_uri, attributes=_LIVED, any_attribute=True),
    "time-offset": Model(text=_integer, attributes={**_LIVED, "description": _anything}, any_attribute=True),
    "user-input": Model(
        text=_one_of("active", "idle"),
        attributes={
            "idle-threshold": _positive,
            "last-input": date_time,
            "id": _anything,
            MUST_UNDERSTAND: _boolean,
        },
        any_attribute=True,
    ),
}

# timed status

_TIMED_STATUS = Model(
    f"{{{TIMED_STATUS}}}",
    attributes=_TIMED,
    needs_attributes=("from",),
    children=_own(TIMED_STATUS, {"basic": Place(0, _BASIC, once=True), "note": Place(1, _NOTE, once=True)}),
    others=2,
)

# capabilities

_FLAGS = "application audio automata control data isfocus message text video"
_OPTIONS = {
    "actor": "attendant information msg-taker principal",
    "class": "business personal",
    "duplex": "full half receive-only send-only",
    "event-packages": (
        "conference dialog kpml message-summary poc-settings presence reg refer Siemens-RTP-Stats spirits-INDPs "
        "spirits-user-prof winfo"
    ),
    "extensions": (
        "rel100 early-session eventlist from-change gruu hist-info join norefersub path precondition pref privacy "
        "recipient-list-invite recipient-list-subscribe replaces resource-priority sdp-anat sec-agree tdialog timer"
    ),
    "methods": "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE",
    "mobility": "fixed mobile",
}
_SERVICE_ORDER = [
    "actor",
    "application",
    "audio",
    "automata",
    "class",
    "control",
    "data",
    "description",
    "duplex",
    "event-packages",
    "extensions",
    "isfocus",
    "message",
    "methods",
    "languages",
    "priority",
    "schemes",
    "text",
    "type",
    "video",
]


def _support(inner: Model) -> Model:
    """What is supported, and what is not."""
    both = {"supported": Place(0, inner, once=True), "notsupported": Place(1, inner, once=True)}
    return Model(f"{{{CAPABILITIES}}}", children=_own(CAPABILITIES, both))


def _options(names: str) -> Model:
    places = {name: Place(rank, _STRING, once=True) for rank, name in enumerate(names.split())}
    return _support(Model(f"{{{CAPABILITIES}}}", children=_own(CAPABILITIES, places), others=len(places)))


def _listed(name: str) -> Model:
    listed = Model(
        f"{{{CAPABILITIES}}}",
        children=_own(CAPABILITIES, {name: Place(0, _STRING)}),
        needs=(f"{{{CAPABILITIES}}}{name}",),
    )
    return _support(listed)


def _priorities() -> Model:
    def bounds(*names: str) -> Model:
        return Model(attributes=dict.fromkeys(names, _integer), needs_attributes=names)

    places = {
        "equals": Place(0, bounds("value")),
        "higherhan": Place(1, bounds("minvalue")),
        "lowerthan": Place(2, bounds("maxvalue")),
        "range": Place(3, bounds("minvalue", "maxvalue")),
    }
    return _support(Model(f"{{{CAPABILITIES}}}", children=_own(CAPABILITIES, places), others=4))


def _capabilities() -> dict[str, Model | None]:
    kinds = {
        **{name: Model(text=_boolean) for name in _FLAGS.split()},
        **{name: _options(words) for name, words in _OPTIONS.items()},
        "languages": _listed("l"),
        "schemes": _listed("s"),
        "priority": _priorities(),
        "description": _NOTE,
        "type": _STRING,
    }
    several = {"description", "type"}
    orders = {"servcaps": _SERVICE_ORDER, "devcaps": ["description", "mobility"]}
    return {
        kind: Model(
            f"{{{CAPABILITIES}}}",
            attributes={MUST_UNDERSTAND: _boolean},
            any_attribute=True,
            children=_own(
                CAPABILITIES,
                {name: Place(rank, kinds[name], once=name not in several) for rank, name in enumerate(order)},
            ),
            others=len(order),
        )
        for kind, order in orders.items()
    }


_CIPID: dict[str, Model | None] = {
    **dict.fromkeys(("card", "homepage", "icon", "map", "sound"), _URI_TEXT),
    "display-name": _STRING,
}


def _global(uri: str, models: dict[str, Model | None]) -> dict[str, Model | None]:
    return {f"{{{uri}}}{name}": model for name, model in models.items()}


PRESENCE_SCHEMA = Schema(
    Model(
        f"{{{PIDF}}}",
        attributes={"entity": _anything},
        children=_own(PIDF, {"tuple": Place(0, _TUPLE), "note": Place(1, _NOTE)}),
        others=2,
    ),
    {
        **_global(PIDF, {"presence": None}),
        **_global(DATA_MODEL, {"deviceID": _URI_TEXT, "person": _PERSON, "device": _DEVICE}),
        **_global(RPID, _RPID),
        **_global(TIMED_STATUS, {"timed-status": _TIMED_STATUS}),
        **_global(CIPID, _CIPID),
        **_global(CAPABILITIES, _capabilities()),
    },
    once=frozenset(_global(RPID, _RPID)),
    attributes={
        LANG: _language,
        SPACE: _one_of("default", "preserve"),
        MUST_UNDERSTAND: _boolean,
        _TYPE: _nothing,
        _NIL: _nothing,
    },
)
"""The root is `presence`. What RPID knows is said once of a tuple, a person or a device (RFC 4480 section 3)."""
