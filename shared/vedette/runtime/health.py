"""`python -m vedette.runtime.health rpc|rest PORT`: whether the service in this container is ready, by its exit code.

`rpc` says hello as the services do, with the token in VEDETTE_RPC_TOKEN_FILE; `rest` asks for /readyz. A check runs
every few seconds in every container, so it loads neither the settings nor an HTTP client that costs more than it.
"""

import http.client
import os
import sys
from pathlib import Path

import msgspec

from vedette import VERSION
from vedette.rpc.contract import HELLO, Hello
from vedette.rpc.token import RpcToken

PATIENCE = 2.0
HERE = "127.0.0.1"
READYZ = "/readyz"


def problem_of_rpc(port: int, token: RpcToken) -> str | None:
    """What keeps the service with this RPC port from being ready; None where nothing does."""
    hello = Hello("health", "", "", VERSION, os.getpid(), "", 0.0, ready=False)
    status, body = ask(f"{HERE}:{port}", "POST", HELLO, msgspec.msgpack.encode(hello), token)
    if status != 200:
        return f"answered {status}"
    return None if msgspec.msgpack.decode(body, type=Hello).ready else "says that it is not ready"


def problem_of_rest(port: int) -> str | None:
    """What keeps the set from being ready, as the api sees it; None where nothing does."""
    status, body = ask(f"{HERE}:{port}", "GET", READYZ)
    return None if status == 200 else f"answered {status}: {body.decode(errors='replace')}"


def ask(address: str, method: str, path: str, body: bytes = b"", token: RpcToken | None = None) -> tuple[int, bytes]:
    """Status and body of the answer of a service at host:port. Raises OSError or http.client.HTTPException."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token.current}"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def main() -> None:
    """Exit with 0 where the service is ready, else say why not and exit with 1."""
    try:
        kind, port = sys.argv[1], int(sys.argv[2])
        if kind == "rest":
            problem = problem_of_rest(port)
        else:
            problem = problem_of_rpc(port, RpcToken.from_file(Path(os.environ["VEDETTE_RPC_TOKEN_FILE"])))
    except (OSError, ValueError, LookupError, http.client.HTTPException, msgspec.MsgspecError) as error:
        problem = f"{type(error).__name__}: {error}"
    sys.stdout.write(f"{problem or 'ready'}\n")
    sys.exit(1 if problem else 0)


if __name__ == "__main__":
    main()
