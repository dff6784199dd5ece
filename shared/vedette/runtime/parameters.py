"""What a person is told of the parameters: type, unit, default, what is allowed, and what has no effect here."""

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

PREFIX = "VEDETTE_"

ORIGINAL = (
    "db_url", "presentity_table", "active_watchers_table", "watchers_table", "clean_period", "to_tag_pref",
    "expires_offset", "max_expires", "server_address", "fallback2db", "subs_htable_size", "pres_htable_size",
    "enable_sphere_check",
)  # fmt: skip
"""The thirteen parameters that the presence module of OpenSIPS began with."""
LATER = (
    "max_expires_publish", "max_expires_subscribe", "min_expires", "min_expires_action", "db_update_period",
    "waiting_subs_daysno", "contact_user", "end_sub_on_timeout", "notify_offline_body", "mix_dialog_presence",
    "sip_uri_match", "cseq_offset", "subs_respond_200", "force_single_dialog", "force_active",
)  # fmt: skip
"""Those that later versions, and Kamailio, have added."""

_PLACES = {name: number for number, name in enumerate((*ORIGINAL, *LATER))}

_REPLICAS = "Replicas on one database share all state; nothing is copied between them."

REPLACED = {
    "subs_db_mode": "fallback2db says whether Postgres or Redis has the dialogs.",
    "publ_cache": "Published state is always in Postgres and cached in Redis; pres_htable_size shapes the cache.",
    "timeout_rm_subs": "Its name here is end_sub_on_timeout.",
    "local_log_level": "log_level says it for a whole service.",
    "local_log_facility": "Logs go to the error output; whoever starts the services keeps them.",
    "db_table_lock_type": "A presentity is locked by its own row, never a table.",
    "send_fast_notify": "A NOTIFY leaves as soon as the change is committed, always.",
    "notifier_processes": "Run more notifiers (vedette scale notifier=N).",
    "notifier_poll_rate": "Notifiers are woken, and poll each second.",
    "waitn_time": "Changes are merged while a NOTIFY is outstanding, and never held back.",
    "fetch_rows": "Rows are read in batches of bounded size.",
    "force_delete": "A publication that ends is always told to its watchers.",
    "startup_mode": "A start leaves the tables as they are.",
    "timer_mode": "Timers run in the notifiers.",
    "pres_subs_mode": "There is no routing script that would read a subscription.",
    "subs_remove_match": "A dialog is always found by its whole id.",
    "delete_same_subs": "The same Call-ID and From tag with a higher CSeq always replaces the older subscription.",
    "retrieve_order": "docs/composition.md says in which order documents are composed.",
    "retrieve_order_by": "docs/composition.md says in which order documents are composed.",
    "xavp_cfg": "docs/composition.md says in which order documents are composed.",
    "bla_presentity_spec": "A phone's line is the user of its Contact in the domain of its From.",
    "bla_fix_remote_target": "Phones of a shared line always get the remote identity as the remote target.",
    "cluster_id": _REPLICAS,
    "cluster_federation_mode": _REPLICAS,
    "cluster_be_active_shtag": _REPLICAS,
    "cluster_pres_events": _REPLICAS,
    "enable_dmq": _REPLICAS,
    "enable_pres_dmq": _REPLICAS,
    "enable_pres_sync_dmq": _REPLICAS,
    "enable_subs_dmq": _REPLICAS,
    "enable_subs_sync_dmq": _REPLICAS,
    "skip_notify_dmq": _REPLICAS,
    "default_socket": _REPLICAS,
    "dmq_peer_id": _REPLICAS,
}
"""Other parameters of those modules, which we do not have, and what does their job."""

Origin = Literal["original", "later", "vedette"]


@dataclass(frozen=True, slots=True)
class About:
    """What the type of a parameter does not say; stands in its `Annotated`."""

    unit: str = ""
    """What a number counts: seconds, octets, dialogs."""
    allowed: str = ""
    """The values in words, where type and range say too little."""
    secret: bool = False
    """The value is a URL that may hold a password."""
    without_effect: str = ""
    """Why a value other than the default changes nothing, and what does the job instead."""
    only_with: tuple[str, object] | None = None
    """Another parameter and the one value of it with which this one has an effect."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as the page and the commands show it; texts are for people."""

    name: str
    services: tuple[str, ...]
    type: str
    unit: str
    default: str
    allowed: str
    meaning: str
    without_effect: str

    @property
    def environment(self) -> str:
        """`VEDETTE_MAX_EXPIRES`."""
        return environment_name(self.name)

    @property
    def origin(self) -> Origin:
        """Whose parameter it is."""
        return "original" if self.name in ORIGINAL else "later" if self.name in LATER else "vedette"


def environment_name(name: str) -> str:
    """The name of a parameter in the environment."""
    return PREFIX + name.upper()


def parameters(kinds: Mapping[str, type[BaseModel]]) -> list[Parameter]:
    """The parameters of the settings classes (by service): the module's in its order, then Vedette's as they stand.

    A parameter that says the same in several services comes once and names them all.
    """
    found: dict[tuple[str, str, str], Parameter] = {}
    for service, kind in kinds.items():
        for name, field in kind.model_fields.items():
            one = _parameter(service, name, field)
            key = (name, one.default, one.meaning)
            known = found.get(key)
            found[key] = one if known is None else replace(known, services=(*known.services, service))
    return sorted(found.values(), key=lambda one: place(one.name))


def place(name: str) -> int:
    """Where a parameter stands in lists: the module's first, in its order, then all others."""
    return _PLACES.get(name, len(_PLACES))


def _parameter(service: str, name: str, field: FieldInfo) -> Parameter:
    about = about_field(field)
    return Parameter(
        name=name,
        services=(service,),
        type=type_of(field.annotation),
        unit=about.unit,
        default=text_of(field.default),
        allowed=allowed(field),
        meaning=f"{field.description or ''} {_condition(about)}".strip(),
        without_effect=about.without_effect,
    )


def about_field(field: FieldInfo) -> About:
    """What the field says about itself, on top of what its type says; nothing where neither does."""
    said = [item for item in field.metadata if isinstance(item, About)]
    return About(
        **{
            part.name: value
            for about in said
            for part in fields(About)
            if (value := getattr(about, part.name)) != part.default
        }
    )


def allowed(field: FieldInfo) -> str:
    """The values that a field takes, in words."""
    about = about_field(field)
    if about.allowed:
        return about.allowed
    if get_origin(field.annotation) is Literal:
        return _any_of(get_args(field.annotation))
    if field.annotation is bool:
        return "true or false"
    if field.annotation is int:
        return _range(field.metadata)
    pattern = next((item.pattern for item in field.metadata if getattr(item, "pattern", None)), None)
    if pattern is not None:
        return f"text that matches {pattern}"
    return "a path" if type_of(field.annotation) == "file" else "text"


def _any_of(values: tuple[object, ...]) -> str:
    texts = [repr(value) if isinstance(value, str) else str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _range(metadata: Iterable[object]) -> str:
    lowest = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    highest = next((item.le for item in metadata if isinstance(item, Le)), None)
    match lowest, highest:
        case None, None:
            return "a whole number"
        case _, None:
            return f"a whole number from {lowest}"
        case None, _:
            return f"a whole number up to {highest}"
    return f"a whole number from {lowest} to {highest}"


def type_of(annotation: Any) -> str:
    """The type in words: number, text, choice, file, or yes or no."""
    if get_origin(annotation) in {types.UnionType, Union}:
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is Literal:
        return "number" if all(isinstance(value, int) for value in get_args(annotation)) else "choice"
    return {bool: "yes or no", int: "number", Path: "file"}.get(annotation, "text")


def text_of(value: object) -> str:
    """A value as it is written in the environment; nothing for None."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def masked(url: str) -> str:
    """A URL without its passwords; `***` where it is not told what of it is one."""
    scheme, separator, rest = url.partition("://")
    base, mark, query = rest.partition("?")
    user, at, place = base.rpartition("@")
    name, colon, _ = user.partition(":")
    if "@" in (query if not at and ":" in base else "") or (not separator and "@" in url) or not _is_url(url):
        return "***"
    query = "&".join(
        f"{key}{equals}***" if "pass" in key.lower() else item
        for item in query.split("&")
        for key, equals, _ in [item.partition("=")]
    )
    return f"{scheme}{separator}{name}{':***' if colon else ''}{at}{place}{mark}{query}"


def _is_url(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return True


def shown(field: FieldInfo, value: object) -> str:
    """A value of the field as it may be shown to people."""
    text = text_of(value)
    return masked(text) if about_field(field).secret else text


def remarks(settings: BaseModel) -> list[tuple[str, str]]:
    """Name and reason of each parameter that was set although it has no effect."""
    found: list[tuple[str, str]] = []
    for name, field in type(settings).model_fields.items():
        about = about_field(field)
        if getattr(settings, name) == field.default:
            continue
        if about.without_effect:
            found.append((name, about.without_effect))
        elif about.only_with is not None and getattr(settings, about.only_with[0]) != about.only_with[1]:
            found.append((name, _condition(about)))
    return found


def _condition(about: About) -> str:
    return f"It acts only with {about.only_with[0]}={about.only_with[1]}." if about.only_with is not None else ""
