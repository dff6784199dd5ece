"""SUBSCRIBE where the dialogs are in Redis (`fallback2db=0`): the same verdicts as `subscribe_batch_v3`."""

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict
from vedette.records import join_routes, write_flow
from vedette.store.database import PoisonedError, StoreError
from vedette.store.dialog_tables import scripts
from vedette.store.dialog_tables.rows import DialogRow, pack, read_dialog_row
from vedette.store.dialog_tables.tables import Argument, DialogTables


class RedisDialogs:
    """Batches of commands in, verdicts out; each presentity's part of a batch is one atomic step."""

    def __init__(self, tables: DialogTables, policy: Policy) -> None:
        self._tables = tables
        self._policy = policy
        self._options = pack(
            (policy.cseq_offset, policy.expires_offset, policy.max_watchers, policy.max_subscriptions)
        )

    async def subscribe(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        """Apply SUBSCRIBE commands, each dialog at most once. Raises StoreError."""
        rows = [_row(command) for command in commands]
        held = await self._count(commands)
        by_bucket: dict[int, list[int]] = {}
        for index, command in enumerate(commands):
            by_bucket.setdefault(self._tables.bucket(command.presentity_hash), []).append(index)
        calls: dict[int, Sequence[Argument]] = {}
        for bucket, indexes in by_bucket.items():
            requests = [
                _request(commands[index], held.get(_watcher(rows[index]), 0), rows[index]) for index in indexes
            ]
            calls[bucket] = (self._options, *requests)
        found = await self._tables.run(scripts.SUBSCRIBE, calls)
        verdicts: dict[int, SubscribeVerdict] = {}
        changes: dict[str, tuple[list[str], list[tuple[float, str]]]] = {}
        for bucket, indexes in by_bucket.items():
            for index, (verdict, granted, written, replaced) in zip(indexes, found[bucket], strict=True):
                row = read_dialog_row(written) if written else None
                verdicts[index] = SubscribeVerdict(verdict.decode(), granted, None if row is None else row.record())
                if row is not None:
                    forget, hold = changes.setdefault(_watcher(row), ([], []))
                    forget += [other.decode() for other in replaced]
                    if row.ended:
                        forget.append(row.dialog_id)
                    else:
                        hold.append((row.expires, row.dialog_id))
        with contextlib.suppress(StoreError):
            # What was judged is stored: a count that was missed is set right by the next refresh.
            await self._tables.watchers(changes)
        return [verdicts[index] for index in range(len(commands))]

    async def of_senders(self, commands: Sequence[PublishCommand]) -> list[str]:
        """For each command the dialogs of its sender, as `publish_batch_v2` takes them; empty where there is none.

        Where Redis is away the sender is told of its own change, once Redis is back.
        """
        found = [""] * len(commands)
        by_bucket: dict[int, list[int]] = {}
        for index, command in enumerate(commands):
            if command.sender is not None:
                by_bucket.setdefault(self._tables.bucket(command.presentity.hash), []).append(index)
        calls: dict[int, list[Argument]] = {}
        for bucket, indexes in by_bucket.items():
            for index in indexes:
                presentity, sender = commands[index].presentity, commands[index].sender
                calls.setdefault(bucket, []).extend((f"{presentity.event}|{presentity.uri}", sender or ""))
        with contextlib.suppress(StoreError):
            for bucket, dialogs in (await self._tables.run(scripts.SENDERS, calls)).items():
                for index, text in zip(by_bucket[bucket], dialogs, strict=True):
                    found[index] = text.decode()
        return found

    async def _count(self, commands: Sequence[SubscribeCommand]) -> dict[str, int]:
        """How many dialogs those have who want another one."""
        if not self._policy.max_subscriptions:
            return {}
        watchers = {
            f"{command.watcher_username}@{command.watcher_domain}"
            for command in commands
            if not command.in_dialog and command.expires
        }
        nothing: tuple[list[str], list[tuple[float, str]]] = ([], [])
        return await self._tables.watchers(dict.fromkeys(watchers, nothing))


def _watcher(row: DialogRow) -> str:
    return f"{row.watcher_username}@{row.watcher_domain}"


def _row(command: SubscribeCommand) -> DialogRow:
    """The dialog that a request asks for. PoisonedError where Postgres could not take it, as it would have to."""
    row = DialogRow(
        presentity_hash=command.presentity_hash,
        dialog_id=command.dialog_id.hex(),
        presentity_uri=command.presentity_uri or "",
        event=command.event,
        event_id=command.event_id,
        watcher_username=command.watcher_username,
        watcher_domain=command.watcher_domain,
        callid=command.callid,
        to_tag=command.to_tag,
        from_tag=command.from_tag,
        to_uri=command.to_value,
        from_uri=command.from_value,
        remote_cseq=command.cseq,
        contact=command.contact,
        record_route=join_routes(command.record_route),
        local_contact=command.local_contact,
        accept=command.accept,
        user_agent=command.user_agent,
        sip_instance=command.sip_instance,
        edge_instance=command.edge_instance,
        edge_address=command.edge_address,
        socket_info=write_flow(command.flow),
        last_key=command.key.hex(),
        granted=command.expires,
        status=command.status,
        reason=command.reason,
    )
    values: list[Any] = [getattr(row, name) for name in DialogRow.__struct_fields__]
    if any("\x00" in value for value in values if isinstance(value, str)):
        raise PoisonedError("a NUL is no text")
    return row


def _request(command: SubscribeCommand, subscriptions: int, row: DialogRow) -> bytes:
    try:
        return pack(
            (command.in_dialog, command.refusal is None, command.proved, command.flow.transport, subscriptions, row)
        )
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise PoisonedError(str(error)) from error
