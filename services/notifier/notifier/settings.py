"""Parameters of notifier."""

from typing import Annotated

from pydantic import Field

from vedette.runtime.settings import StoreSettings


class NotifierSettings(StoreSettings):
    """What a notifier has besides the store."""

    edge_peers: str = Field("127.0.0.1:8072", description="Where the edges are: host:port, ... or @file.")
    notify_patience: Annotated[int, Field(ge=1, le=600)] = Field(
        40, description="Seconds until the outcome of a NOTIFY is no longer awaited; above Timer F of the edges."
    )
    remember_dialogs: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        20_000, description="Dialogs kept in memory between their NOTIFYs."
    )
    remember_documents: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        5000, description="Composed documents kept in memory."
    )
