"""The sandbox of macOS: from a box to a profile for sandbox-exec. *Unseen*: never run on a Mac by us.

So it fails closed: all is denied but what is named here, and without a canary that holds it is not used.

In a profile the last rule that fits decides: what is hidden comes last. Rules name real places, for that is what the kernel
compares. It is weaker than bubblewrap: that a file exists can be seen everywhere, other processes are there, and /tmp is no
folder of its own (TMPDIR lies in out/). Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from trainer.box import SEATBELT, Box, Level
from trainer.shown import show

LEVEL = Level(SEATBELT, "sandbox-exec; unseen: nobody has run it on a Mac yet", ("/usr/bin/sandbox-exec",))
SYSTEM = [
    "/System", "/bin", "/usr/bin", "/usr/lib", "/usr/libexec", "/usr/share", "/usr/local", "/opt/homebrew",
    "/Library/Apple", "/Library/Frameworks", "/Library/Developer/CommandLineTools",
    "/private/etc/localtime", "/private/var/db/dyld", "/private/var/db/timezone",
    "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/fd",
]
NETWORK = [*(f"/private/etc/{name}" for name in ("hosts", "resolv.conf", "services", "ssl")), "/private/var/run/resolv.conf"]
# What a process needs to be one, and what Metal asks for. Nothing that starts programs, holds keys or reaches a network.
ALWAYS = """\
(version 1)
(deny default)
(allow process-fork)
(allow process-exec)
(allow process-info* (target same-sandbox))
(allow signal (target same-sandbox))
(allow sysctl-read
  (sysctl-name-prefix "hw.") (sysctl-name-prefix "machdep.cpu.") (sysctl-name-prefix "kern.os")
  (sysctl-name "kern.argmax") (sysctl-name "kern.hostname") (sysctl-name "kern.maxfilesperproc") (sysctl-name "kern.version")
  (sysctl-name "sysctl.proc_translated") (sysctl-name "vm.loadavg"))
(allow ipc-posix-sem)
(allow ipc-posix-shm* (ipc-posix-name-regex #"^/(__KMP_REGISTERED_LIB|torch_)"))
(allow mach-lookup
  (global-name "com.apple.MTLCompilerService") (xpc-service-name "com.apple.MTLCompilerService")
  (global-name "com.apple.system.logger") (global-name "com.apple.system.notification_center")
  (global-name "com.apple.system.opendirectoryd.libinfo"))
(allow iokit-get-properties)
(allow iokit-open
  (iokit-user-client-class "AGXDeviceUserClient") (iokit-user-client-class "AGXSharedUserClient")
  (iokit-user-client-class "AGXCommandQueue") (iokit-user-client-class "IOAccelerationUserClient")
  (iokit-user-client-class "IOSurfaceRootUserClient"))
(allow file-read-metadata)
(allow file-read* (literal "/"))
(allow file-write-data (literal "/dev/null"))
"""


def wrap(by: Sequence[str], command: Sequence[str], box: Box, python: Sequence[str]) -> list[str]:
    """`python`: where our interpreter and its packages are. What stands `instead` of something cannot be had here."""
    return [*by, "-p", profile(box, python), *command]


def profile(box: Box, python: Sequence[str]) -> str:
    shown = show([*SYSTEM, *python, *(NETWORK if box.network else []), *box.read], box.write)
    read, write = ([tree.source for tree in trees] for trees in (shown.read, shown.write))
    hidden = [os.path.realpath(path) for path in box.hide]
    return ALWAYS + "".join([
        _rule("allow file-read*", [*read, *write]),
        _rule("allow file-write*", write),
        "(allow network*)\n" if box.network else "",
        _rule("deny file-read* file-write*", hidden),
    ])  # fmt: skip


def _rule(what: str, paths: Iterable[str]) -> str:
    """A subpath is the file or folder itself and all in it."""
    lines = [f"\n  (subpath {_quoted(path)})" for path in paths]
    return f"({what}{''.join(lines)})\n" if lines else ""


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
