"""Redis: whether it answers, and what it does when its memory is full."""

from collections.abc import Mapping
from typing import Any

import redis.asyncio
import redis.exceptions

from vedette_cli.doctor.finding import Finding, failure, warning, well

PATIENCE = 3.0
NEARLY_FULL = 0.9


async def ask_redis(url: str) -> tuple[dict[str, Any], float] | str:
    """What Redis says of its memory, and its clock in epoch seconds; what went wrong where it does not answer."""
    try:
        client: Any = redis.asyncio.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
    except ValueError as error:
        return str(error)
    try:
        seconds, microseconds = await client.time()
        return dict(await client.info("memory")), seconds + microseconds / 1e6
    except (redis.exceptions.RedisError, OSError) as error:
        return str(error) or type(error).__name__
    finally:
        await client.aclose()


def check_redis(answer: Mapping[str, Any] | str, *, keeps_dialogs: bool) -> list[Finding]:
    """What its answer says. `keeps_dialogs`: the dialogs themselves are there (fallback2db=0)."""
    if isinstance(answer, str):
        text = f"Redis does not answer: {answer}"
        if keeps_dialogs:
            return [failure("redis", f"{text}. SUBSCRIBE gets 503 without it", "Start it; see VEDETTE_REDIS_URL.")]
        return [warning("redis", f"{text}. All works without it, only slower", "Start it; see VEDETTE_REDIS_URL.")]
    found: list[Finding] = []
    limit, used = int(answer.get("maxmemory", 0)), int(answer.get("used_memory", 0))
    policy = str(answer.get("maxmemory_policy", ""))
    if limit == 0:
        found.append(
            warning(
                "redis",
                "maxmemory is not set: Redis may take all memory of its machine",
                "Set maxmemory, like 512mb.",
            )
        )
    elif keeps_dialogs and used > NEARLY_FULL * limit:
        found.append(
            failure(
                "redis",
                f"{used / limit:.0%} of maxmemory is used; SUBSCRIBE gets 503 when it is full",
                "Raise maxmemory.",
            )
        )
    if keeps_dialogs and policy != "noeviction":
        found.append(
            failure(
                "redis",
                f"maxmemory-policy is {policy}: Redis may forget dialogs, which are nowhere else",
                "Set maxmemory-policy noeviction.",
            )
        )
    if not keeps_dialogs and limit and policy == "noeviction":
        found.append(
            warning(
                "redis",
                "maxmemory-policy is noeviction, and Redis is a cache here: once full it takes nothing new",
                "Set maxmemory-policy allkeys-lru.",
            )
        )
    return found or [well("redis", f"it answers; {used // 2**20} MiB used, maxmemory-policy {policy}")]
