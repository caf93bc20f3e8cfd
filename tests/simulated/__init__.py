"""An accelerator that is none, for tests: a device whose memory traps, whose copies are late, and which counts waits.

`install()` makes it torch's device "simulated" for the rest of the process. It must come before the first backward
pass, because autograd starts the threads of all devices then. See device.cpp for what it simulates.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

NAME = "simulated"


def available() -> bool:
    """Whether the device can be built here: it needs Linux, a C++ compiler and ninja."""
    tools = os.environ.get("CXX", "c++"), "ninja"
    return sys.platform == "linux" and all(shutil.which(tool) for tool in tools)


def install() -> ModuleType:
    """Build the device unless that was done before, and return its module, which has what `torch.cuda` has."""
    import torch
    from torch.utils.backend_registration import generate_methods_for_privateuse1_backend, rename_privateuse1_backend

    from . import module

    if torch._C._get_privateuse1_backend_name() != NAME:
        rename_privateuse1_backend(NAME)
        module.load(_built(torch.__version__))
        torch._register_device_module(NAME, module)  # type: ignore[no-untyped-call]
        generate_methods_for_privateuse1_backend()
    return module


def _built(version: str) -> Path:
    from torch.utils.cpp_extension import load

    source = Path(__file__).with_name("device.cpp")
    content = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"{NAME}-{getpass.getuser()}-{version}-{content}"
    folder.mkdir(mode=0o700, exist_ok=True)
    load(NAME, [str(source)], extra_cflags=["-O1"], build_directory=str(folder), is_python_module=False)
    return folder / f"{NAME}.so"
