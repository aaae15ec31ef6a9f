"""Ends a process that a server started when that server is gone, however it went.

Nothing heavy is imported here: the watch must stand before the rest of the process is there.
"""

import os
import sys
import threading


def end_with_server() -> None:
    """End this process when its standard input, whose other end the server holds, is closed."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="server", daemon=True).start()
