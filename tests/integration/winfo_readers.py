"""Those who watch the watchers, as far as a notifier knows them: every document they get is read and counted."""

from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict, settle
from notifier.domain.views import ViewKey, Views, watched_by
from notifier.domain.watchers import Span
from tests.integration.replicas import DialogStore
from tests.watcherinfo import SeenDocument, WatcherTable
from vedette.documents.versioned import VersionedDocument
from vedette.rpc.contract import Outcome

MEDIA_TYPE = "application/watcherinfo+xml"


class Readers:
    """`deliver` does what a notifier and the phones of all dialogs do."""

    def __init__(self, store: DialogStore) -> None:
        self.store = store
        self.tables: dict[bytes, WatcherTable] = {}
        """What each reader knows, by its dialog."""

    async def deliver(
        self,
        status: int = 200,
        *,
        retry_after: int | None = None,
        verdict: Verdict | None = None,
        dialogs: int = 1000,
    ) -> dict[bytes, SeenDocument]:
        """The documents of watcher information that are owed now, by dialog.

        Every phone answers with `status`; with another than 200 what it was sent is taken as not seen. `verdict`
        stands in place of what the status means.
        """
        claims = await self.store.claim(500, dialogs)
        bodies = await self.composed([claim for claim in claims if watched_by(claim.event)])
        seen: dict[bytes, SeenDocument] = {}
        if status == 200 and verdict is None:
            for dialog_id, body in bodies.items():
                seen[dialog_id] = self.tables.setdefault(dialog_id, WatcherTable()).take(body)
        outcomes = [
            (
                Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, status),
                settle(status, retry_after) if verdict is None else Settlement(verdict),
            )
            for claim in claims
        ]
        if outcomes:
            await self.store.apply(outcomes)
        return seen

    async def composed(self, claims: list[Claim]) -> dict[bytes, bytes]:
        """The documents of these claims, by dialog."""
        spans = [Span(claim.since, claim.until, claim.whole) for claim in claims]
        lists = await self.store.watchers(
            [
                ((claim.presentity_hash, claim.presentity_uri, watched_by(claim.event) or ""), span)
                for claim, span in zip(claims, spans, strict=True)
            ]
        )
        views = Views(0)
        bodies: dict[bytes, bytes] = {}
        for claim, span, rows in zip(claims, spans, lists, strict=True):
            key = ViewKey(claim.presentity_uri, claim.event, claim.version, MEDIA_TYPE, span)
            document = views.compose_watchers(key, rows, claim.at, 0).document
            bodies[claim.dialog_id] = VersionedDocument(document.body, document.version_at).with_version(
                claim.document_version
            )
        return bodies
