"""Watcher information while notifiers die: at the end every reader knows who watches (invariants 3 and 4)."""

import asyncio

from tests.phone import MakePhone, Phone, learn, token
from tests.running_set import started
from tests.watcherinfo import WatcherTable

EVENT = "presence.winfo"
TYPE = "application/watcherinfo+xml"


async def test_win_06_win_07_readers_know_the_watchers_although_notifiers_die(make_phone: MakePhone) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    async with started("--notifiers", "2") as running:
        reader = await make_phone(running)
        table = WatcherTable(gaps_allowed=True)
        dialog = reader.dialog(presentity)
        response = await reader.request(reader.subscribe(dialog, event=EVENT, accept=TYPE))
        assert response.status == 202
        last = 0
        left: list[Phone] = []
        for step in range(12):
            bob = await make_phone(running)
            watched = bob.dialog(presentity)
            if step % 3 == 1:
                await running.all_ready()
            learn(watched, await bob.request(bob.subscribe(watched)))
            if step % 3 == 1:
                await running.kill("notifier", step % 2)
            if step % 2:
                assert (await bob.request(bob.subscribe(watched, expires=0))).status == 200
            else:
                left.append(bob)
        wanted = sorted((bob.aor, "active", "subscribe") for bob in left)
        async with asyncio.timeout(60):
            while table.what != wanted:
                notify = await reader.next_notify(60)
                cseq = int(notify["cseq"].split()[0])
                if cseq == last:
                    continue  # sent again, since the answer came to a process that was not there any more
                assert cseq > last
                last = cseq
                table.take(notify.body)
