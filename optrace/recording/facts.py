"""What is said of a run and of what went wrong."""

from __future__ import annotations

import os
import platform
import socket
import sqlite3
import sys
import time
from typing import Any


def reason(error: BaseException) -> str:
    """An error as half a line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, sqlite3.Error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def describe(torch: Any) -> dict[str, Any]:
    """What ran where: versions and machine."""
    from optrace import __version__

    devices = ["cpu"]
    if torch.cuda.is_initialized():
        devices += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "optrace": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": devices,
        "argv": list(sys.argv),
        "cwd": os.getcwd(),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "began": time.time(),
    }
