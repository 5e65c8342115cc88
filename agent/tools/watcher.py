"""Whoever ends Hermes, however rudely, ends what it started.

A shell waits for the end of a pipe that only Hermes holds. When the pipe ends (a `kill -9` closes it, too) the shell
kills the commands it was told of and not told to forget.
"""

import os
import subprocess
import sys
import threading
from contextlib import suppress

from agent.tools.processes import MARK

_SCRIPT = r"""
trap '' HUP INT TERM QUIT
list=
while read -r verb mark group; do
    rest=
    for item in $list; do
        case $item in "$mark":*) ;; *) rest="$rest $item" ;; esac
    done
    case $verb in
        +) list="$rest $mark:$group" ;;
        -) list=$rest ;;
    esac
done
[ -n "$list" ] || exit 0
end() {
    for item in $list; do
        [ "${item#*:}" = 0 ] || kill -"$1" -"${item#*:}" 2>/dev/null
        for file in $(grep -alsF "$NAME=${item%%:*}" /proc/[0-9]*/environ 2>/dev/null); do
            file=${file#/proc/}
            kill -"$1" "${file%/environ}" 2>/dev/null
        done
    done
}
end TERM
sleep 0.3
end KILL
"""


class Watcher:
    """Ends the commands it watches when this process is gone. Started with the first of them; safe to share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shell: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def watch(self, mark: str, group: int = 0) -> None:
        """From now on. `group` is the process group, 0 while it is not known yet: then the mark alone finds it."""
        self._tell(f"+ {mark} {group}\n")

    def forget(self, mark: str) -> None:
        self._tell(f"- {mark} 0\n")

    def _tell(self, line: str) -> None:
        if sys.platform == "win32":
            return
        # Without a watcher a command still runs, and is ended by whoever started it.
        with self._lock, suppress(OSError):
            shell = self._running()
            assert shell.stdin is not None
            os.write(shell.stdin.fileno(), line.encode())

    def _running(self) -> "subprocess.Popen[bytes]":
        # After a fork the child must not talk to its parent's watcher.
        if self._shell is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath, "NAME": MARK},
                start_new_session=True,
            )
        return self._shell


WATCHER = Watcher()
"""The one of this process."""
