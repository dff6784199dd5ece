"""Parameters of notifier."""

from typing import Annotated

from pydantic import Field

from vedette.runtime.addresses import PeerList
from vedette.runtime.parameters import About
from vedette.runtime.settings import StoreSettings, Switch


class NotifierSettings(StoreSettings):
    """What a notifier has besides the store."""

    edge_peers: PeerList = Field("127.0.0.1:8072", description="Where the edges are: host:port, ... or @file.")
    notify_patience: Annotated[int, Field(ge=1, le=600), About("seconds")] = Field(
        40, description="Time until the outcome of a NOTIFY is no longer awaited; above Timer F of the edges."
    )
    remember_dialogs: Annotated[int, Field(ge=0, le=10_000_000), About("dialogs")] = Field(
        20_000,
        description="Dialogs kept in memory between their NOTIFYs: with ordinary headers 1.8 KiB each, never more "
        "than 4 KiB on average.",
    )
    remember_documents: Annotated[int, Field(ge=0, le=1_000_000), About("documents")] = Field(
        5000, description="Composed documents kept in memory, 64 MiB of them at most."
    )
    census_period: Annotated[int, Field(ge=1, le=3600), About("seconds")] = Field(
        60,
        description="How often one of the notifiers counts the publications and subscriptions that are alive, for "
        "its metrics; of a large table 2000 pages are read.",
    )
    suppress_unchanged: Switch = Field(
        1,
        description="1: a change after which a watcher would get the document that it acknowledged last is not "
        "notified; a SUBSCRIBE always is. 0: every change is notified; a PUBLISH with the octets of before is none.",
    )
    end_sub_on_timeout: Switch = Field(
        1,
        description="1: a NOTIFY without an answer, or that cannot be delivered, ends the subscription (RFC 6665, "
        "4.2.2). 0: the state is sent again after a pause (5 s, doubled each time), the fifth failure in a row ends "
        "it.",
    )
    force_single_dialog: Switch = Field(
        0,
        description="1: watchers of the event dialog see the most interesting call of a line only (early, confirmed, "
        "proceeding, trying, terminated). 0: all of them, the most interesting one first.",
    )
    notify_offline_body: Switch = Field(
        1,
        description="What a watcher gets where nothing is published. 1: a neutral document (closed); "
        "0: a NOTIFY without a body.",
    )
