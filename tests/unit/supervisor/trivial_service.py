"""A process that says it is ready and waits for its end."""

import json
import os
import signal

if __name__ == "__main__":
    with os.fdopen(int(os.environ["VEDETTE_READY_FD"]), "w") as said:
        said.write(json.dumps({"address": f"127.0.0.1:{os.getpid()}"}) + "\n")
    signal.pause()
