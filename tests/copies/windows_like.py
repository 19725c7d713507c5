"""Runs verify.pyz as far as can be as Windows would: started by test_single_file.py, alone in an interpreter.

    python -I -S windows_like.py FOLDER_WITH_CRYPTOGRAPHY VERIFY_PYZ ENCODING ARGUMENTS…

Modules that Windows does not have cannot be imported, what `os` lacks there is gone, and the console has `ENCODING`.
What it cannot do: paths are this system's own, and so are its file names.
"""

from __future__ import annotations

import io
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

ABSENT = {
    "_curses",
    "_posixshmem",
    "crypt",
    "curses",
    "fcntl",
    "grp",
    "nis",
    "ossaudiodev",
    "pty",
    "pwd",
    "readline",
    "resource",
    "spwd",
    "syslog",
    "termios",
    "tty",
}
NOT_IN_OS = {
    "O_CLOEXEC",
    "O_DIRECTORY",
    "O_DSYNC",
    "O_NOCTTY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
    "O_SYNC",
    "WEXITSTATUS",
    "chown",
    "chroot",
    "ctermid",
    "fchdir",
    "fchmod",
    "fchown",
    "fdatasync",
    "fork",
    "forkpty",
    "fpathconf",
    "fstatvfs",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getloadavg",
    "getpgid",
    "getpgrp",
    "getpriority",
    "getresuid",
    "getsid",
    "getuid",
    "killpg",
    "lchown",
    "mkfifo",
    "mknod",
    "nice",
    "pathconf",
    "pipe2",
    "posix_fadvise",
    "posix_fallocate",
    "posix_spawn",
    "posix_spawnp",
    "pread",
    "preadv",
    "pwrite",
    "pwritev",
    "readv",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_yield",
    "sendfile",
    "setgid",
    "setpriority",
    "setsid",
    "setuid",
    "statvfs",
    "sync",
    "sysconf",
    "tcgetpgrp",
    "ttyname",
    "uname",
    "wait",
    "wait3",
    "wait4",
    "writev",
}


class NotOnWindows:
    """First of the finders."""

    @staticmethod
    def find_spec(name: str, _path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main() -> None:
    only, pyz, encoding, *arguments = sys.argv[1:]
    sys.meta_path.insert(0, NotOnWindows)
    for name in ABSENT:
        sys.modules.pop(name, None)
    for name in NOT_IN_OS:
        if hasattr(os, name):
            delattr(os, name)
    sys.path.insert(0, only)
    sys.argv = [pyz, *arguments]
    for name in ("stdout", "stderr"):
        raw = getattr(sys, name).buffer
        setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="\r\n"))
    try:
        runpy.run_path(pyz, run_name="__main__")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
