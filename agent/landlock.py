"""Landlock, by the kernel's own calls: a program that shuts itself in and then becomes the command it was given.

Run as a script (`python -I -S landlock.py PLAN COMMAND…`), so it needs nothing but the standard library. The plan is
JSON: `write` and `read` name what may be written and read with everything below, `list` what may only be listed,
`network` whether there is any. Landlock only ever allows: whatever is not named is out of reach. It knows TCP only, so
a filter of system calls keeps other sockets from being made, where the machine's numbers are known. `socket_filter`
serves bubblewrap too: no namespace keeps a socket on a path, such as Docker's or an agent's for keys, out of reach.
Modes and owners of files are not its business: they can be changed wherever the user may.
"""

import ctypes
import json
import os
import sys
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The calls' numbers, the same on every architecture."""
_PATH_BENEATH, _ABI = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
_READS = _EXECUTE | _READ_FILE | _READ_DIR
_BITS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many kinds of access to files a version knows; later ones know 16."""
_TCP, _SCOPES = 0b11, 0b11
_NO_NEW_PRIVILEGES, _DROP_FROM_BOUNDING_SET = 38, 24
_CAPABILITIES = 0x20080522


_SET_SECCOMP, _FILTER_MODE = 22, 2
_REFUSE, _ALLOW = 0x00050000 | 1, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_SOCKETS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""For each machine its name to the kernel, and the number of `socket`."""
_IO_URING, _FOREIGN = 425, 0x40000000
INTERNET = (2, 10)
"""The families of sockets that a network of its own confines."""
_NETLINK = 16
"""Asks the kernel what interfaces there are; it reaches nobody."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The version of Landlock that the kernel speaks; 0 where it does not."""
    if sys.platform != "linux":
        return 0
    found = int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ABI)))
    return max(found, 0)


def restrict(write: Iterable[str], read: Iterable[str], listed: Iterable[str], *, network: bool) -> None:
    """Shut this process in, for good, with all that it starts. Raises: OSError."""
    version = abi()
    if not version:
        raise OSError("this kernel has no Landlock")
    handled = (1 << _BITS_BY_ABI.get(version, 16)) - 1
    without_net = 0 if network or version < 4 else _TCP
    ruleset = _Ruleset(handled, without_net, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    fence = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    for paths, access in ((listed, _READ_DIR), (read, _READS), (write, handled)):
        for path in paths:
            _allow(fence, path, access & handled)
    _give_up_privileges()
    if not network:
        _refuse_sockets()
    _call(_RESTRICT_SELF, ctypes.c_int(fence), ctypes.c_uint32(0))
    os.close(fence)


def _allow(fence: int, path: str, access: int) -> None:
    try:
        there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = _PathBeneath(access if os.path.isdir(path) else access & _OF_FILES, there)  # noqa: PTH112
        _call(_ADD_RULE, ctypes.c_int(fence), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(there)


def _give_up_privileges() -> None:
    """No capability stays, and none comes back through a program that would give some."""
    libc = _libc()
    for number in range(64):
        libc.prctl(_DROP_FROM_BOUNDING_SET, number, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "privileges cannot be given up")


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def socket_filter(families: Iterable[int] = ()) -> bytes:
    """A filter after which no socket can be made but of these families, by the call or past it; pairs can.

    As the kernel reads it; b"" where the machine's numbers are not known.
    """
    if sys.platform != "linux" or os.uname().machine not in _SOCKETS:
        return b""
    machine, socket = _SOCKETS[os.uname().machine]
    allowed = (_NETLINK, *families)
    to_allow, to_refuse = len(allowed) + 2, len(allowed) + 5
    lines = [
        (_LOAD, 0, 0, 4), (_EQUAL, 0, to_refuse, machine),  # made for another machine
        (_LOAD, 0, 0, 0), (_AT_LEAST, to_refuse - 2, 0, _FOREIGN), (_EQUAL, to_refuse - 3, 0, _IO_URING),
        (_EQUAL, 0, to_allow, socket), (_LOAD, 0, 0, 16),
        *((_EQUAL, len(allowed) - number, 0, family) for number, family in enumerate(allowed)),
        (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW),
    ]  # fmt: skip
    return b"".join(bytes(_Instruction(*line)) for line in lines)


def _refuse_sockets() -> None:
    """Raises: OSError."""
    if not (text := socket_filter()):
        return
    size = len(text) // ctypes.sizeof(_Instruction)
    program = _Program(size, (_Instruction * size).from_buffer_copy(text))
    if _libc().prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "system calls cannot be filtered")


def _call(number: int, *arguments: object) -> int:
    found = int(_libc().syscall(number, *arguments))
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return found


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Shut in, then become the command. Leaves with 126 when that cannot be done: never runs it in the open."""
    plan = json.loads(arguments[0])
    try:
        restrict(plan["write"], plan["read"], plan["list"], network=plan["network"])
        os.execv(arguments[1], arguments[1:])
    except OSError as error:
        os.write(2, f"sandbox: {error}\n".encode())
        os._exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
