"""A process that tells what it was started with, also in its log, and waits for its end."""

import json
import os
import signal
import sys

if __name__ == "__main__":
    sys.stdout.write("it begins\n")
    facts = {
        "arguments": sys.argv,
        "told": {name: value for name, value in os.environ.items() if name.startswith("TOLD")},
        "leads_session": os.getsid(0) == os.getpid(),
        "input": sys.stdin.read(),
        "ignores_children": signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN,
    }
    with os.fdopen(int(os.environ["VEDETTE_READY_FD"]), "w") as said:
        said.write(json.dumps(facts) + "\n")
    signal.pause()
