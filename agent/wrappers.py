"""Programs that run another command which they are given: what that command is."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from agent.shell import Word

Kind = Literal["command", "script", "unknown"]
"""What a wrapper runs: the words of a command, the text of a script, or something that is not known here."""


@dataclass(frozen=True, slots=True)
class Wrapper:
    """Options before the command: `flags` stand alone, `values` take the next word. `skip` operands come first.

    `free` says that wrapping adds nothing to what the command does by itself.
    """

    flags: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    skip: int = 0
    assigns: bool = False
    free: bool = False


def _wrapper(flags: str = "", values: str = "", *, skip: int = 0, assigns: bool = False, free: bool = False) -> Wrapper:
    return Wrapper(frozenset(flags.split()), frozenset(values.split()), skip, assigns, free)


WRAPPERS: dict[str, Wrapper] = {
    "builtin": _wrapper(free=True),
    "busybox": _wrapper(),
    "chroot": _wrapper(skip=1),
    "chronic": _wrapper(),
    "command": _wrapper("-p", free=True),
    "coproc": _wrapper(),
    "doas": _wrapper("-n -L", "-u -C"),
    "env": _wrapper("-i -0 --ignore-environment -v", "-u -C --unset --chdir", assigns=True, free=True),
    "exec": _wrapper("-c -l", "-a"),
    "flock": _wrapper("-n -x -s -e -u", "-w -E", skip=1),
    "ionice": _wrapper("-t", "-c -n", free=True),
    "nice": _wrapper("", "-n --adjustment", free=True),
    "nohup": _wrapper(),
    "nsenter": _wrapper(),
    "parallel": _wrapper(),
    "pkexec": _wrapper("", "--user"),
    "runuser": _wrapper("", "-u"),
    "script": _wrapper(),
    "setsid": _wrapper("-w -f -c --wait --fork"),
    "stdbuf": _wrapper("", "-i -o -e", free=True),
    "strace": _wrapper("-f", "-e -o -p"),
    "sudo": _wrapper("-n -E -H -S -A -b -k -i -s", "-u -g -C -D -h -p -r -t -U"),
    "taskset": _wrapper("-a", "-c", skip=1),
    "time": _wrapper("-p -v", free=True),
    "timeout": _wrapper("--foreground --preserve-status -v", "-k -s --kill-after --signal", skip=1, free=True),
    "unbuffer": _wrapper(),
    "unshare": _wrapper(),
    "watch": _wrapper("-d -t -g -e -x", "-n"),
    "xargs": _wrapper(
        "-0 -r -t -p -x --null --no-run-if-empty --verbose", "-n -L -I -P -d -a -s -E --max-args --max-procs"
    ),
}
SHELLS = frozenset("sh bash dash ash ksh zsh rbash fish mksh".split())
_LIKE_BASH = frozenset({"sh", "bash", "dash"})
"""Shells that take a script of `-c` as it is taken apart here."""
_OPAQUE = frozenset(". source trap alias ssh su tmux screen at batch crontab expect nsenter".split())
"""They run something by a way that is not followed."""
_FIND_RUNS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


def inner_commands(words: "Sequence[Word]") -> "Iterator[tuple[Kind, Sequence[Word]]]":
    """What a command runs besides itself. A command that is no wrapper gives nothing."""
    if not words or words[0].kind != "text":
        return
    name = words[0].text.rpartition("/")[2]
    if name in SHELLS:
        yield from _of_shell(words)
    elif name == "eval":
        yield from _of_eval(words)
    elif name == "find":
        yield from _of_find(words)
    elif name in _OPAQUE and len(words) > 1:
        yield "unknown", ()
    elif name in WRAPPERS and not (name == "command" and words[1:2] and words[1].text in ("-v", "-V")):
        yield from _of_wrapper(WRAPPERS[name], words)


def is_free(words: "Sequence[Word]") -> bool:
    """Whether a wrapper does no more than what it runs does, so that judging that is enough."""
    name = words[0].text if words else ""
    if name in _LIKE_BASH:
        return len(words) > 2 and words[1].text == "-c" and words[1].kind == words[2].kind == "text"
    if name == "eval":
        return len(words) > 1
    return name in WRAPPERS and WRAPPERS[name].free and len(words) > 1


def _of_shell(words: "Sequence[Word]") -> "Iterator[tuple[Kind, Sequence[Word]]]":
    for number, word in enumerate(words[1:], 1):
        if word.kind != "text" or not re.match(r"[-+]", word.text):
            break
        if re.fullmatch(r"-\w*c\w*", word.text):
            # A word behind further options would be the script; which one, shells do not agree on.
            script = words[number + 1 : number + 2]
            yield ("script", script) if script and not script[0].text.startswith(("-", "+")) else ("unknown", ())
            return
    if len(words) == 1 or words[1].text not in ("--version", "--help"):
        yield "unknown", ()


def _of_eval(words: "Sequence[Word]") -> "Iterator[tuple[Kind, Sequence[Word]]]":
    from agent.shell import Word

    if any(word.kind != "text" for word in words[1:]):
        yield "unknown", ()
    elif len(words) > 1:
        yield "script", (Word(" ".join(word.text for word in words[1:])),)


def _of_find(words: "Sequence[Word]") -> "Iterator[tuple[Kind, Sequence[Word]]]":
    rest = list(words[1:])
    while rest:
        if rest.pop(0).text not in _FIND_RUNS:
            continue
        end = next((index for index, word in enumerate(rest) if word.text in (";", "+")), len(rest))
        yield "command", tuple(rest[:end])
        rest = rest[end:]


def _of_wrapper(wrapper: Wrapper, words: "Sequence[Word]") -> "Iterator[tuple[Kind, Sequence[Word]]]":
    rest, skip = list(words[1:]), wrapper.skip
    while rest:
        word = rest[0]
        if word.kind != "text" and not word.quoted and (skip or "=" in word.text):
            # It may come apart into several words, of which the last begin a command.
            yield "unknown", ()
        if wrapper.assigns and re.match(r"\w+=", word.text):
            rest.pop(0)
        elif word.kind == "text" and word.text == "--":
            rest.pop(0)
            break
        elif word.kind == "text" and word.text.startswith("-") and len(word.text) > 1:
            rest.pop(0)
            if word.text in wrapper.values:
                if rest and rest[0].kind != "text" and not rest[0].quoted:
                    yield "unknown", ()
                rest[:1] = []
            elif not _is_known(word.text, wrapper):
                yield "unknown", ()
        elif skip:
            rest.pop(0)
            skip -= 1
        else:
            break
    if rest:
        yield "command", tuple(rest)


def _is_known(option: str, wrapper: Wrapper) -> bool:
    """A flag, flags in one word, or an option with its value attached."""
    if option in wrapper.flags or re.fullmatch(r"-\d+", option):
        return True
    if option.startswith("--"):
        return option.partition("=")[0] in wrapper.values
    return option[:2] in wrapper.values or all(f"-{letter}" in wrapper.flags for letter in option[1:])
