"""Trying to break out of the sandbox: what `hermes doctor` runs to prove that the wall holds.

Every attempt is a small program behind the wall. It leaves with 0 when it got out; nothing that it tries does harm.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent.sandbox import Backend, Sandbox

_SECONDS = 20

# Each sees: workspace, outside (a folder beyond the wall), secret (a file in a hidden folder), port, udp, pid, name.
ATTEMPTS: dict[str, str] = {
    "write outside": "open(outside + '/x', 'w')",
    "write in the system": "open('/etc/hermes-check', 'w')",
    "write through a link": "os.symlink(outside, '/tmp/l'); open('/tmp/l/x', 'w')",
    "write by renaming": "open('/tmp/r', 'w'); os.rename('/tmp/r', outside + '/x')",
    "make a hard link outside": "open('/tmp/h', 'w'); os.link('/tmp/h', outside + '/x')",
    "change a file's mode outside": "os.chmod(outside + '/there', 0o777)",
    "delete outside": "os.unlink(outside + '/there')",
    "read a hidden file": "open(secret).read()",
    "read ~/.ssh": "assert any(os.scandir(ssh)); [open(e.path).read() for e in os.scandir(ssh) if e.is_file()]",
    "read another process's memory or environment": "assert open(f'/proc/{pid}/environ').read()",
    "reach files through another process": "open(f'/proc/{pid}/root' + secret).read()",
    "end another process": "os.kill(pid, 0)",
    "open a TCP connection": "socket.create_connection(('127.0.0.1', port), 3)",
    "listen on a TCP port": "assert not own_network(); socket.create_server(('127.0.0.1', 0))",
    "send UDP": "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', udp)); s.send(b'x');"
    " s.settimeout(2); assert s.recv(1)",
    "open an abstract socket": "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + name)",
    "open a socket on a path": "s = socket.socket(socket.AF_UNIX); os.chdir(outside); s.connect('socket')",
    "mount something": "assert libc.mount(b'none', b'/mnt', b'tmpfs', 0, None) == 0",
    "make a device": "os.mknod('/tmp/d', 0o60600, os.makedev(8, 0)); open('/tmp/d', 'rb').read(1)",
    "write the repository's hooks": "open(workspace + '/.git/hooks/pre-commit', 'w')",
    "write the repository's settings": "open(workspace + '/.git/config', 'a')",
    "put another repository in its place": "os.rename(workspace + '/.git', workspace + '/old')",
    "write the project's settings for Hermes": "open(workspace + '/.hermes/config.toml', 'w')",
}
MADE: dict[str, tuple[str, str, str]] = {
    "make hooks where there are none": ("repository", "write('.git/hooks/pre-commit')", ".git/hooks/pre-commit"),
    "make the repository's settings where there are none": ("repository", "write('.git/config')", ".git/config"),
    "lead git to another folder's settings": ("repository", "write('.git/commondir')", ".git/commondir"),
    "change a submodule's settings": ("repository", "write('.git/modules/m/config')", ".git/modules/m/config"),
    "make settings for Hermes where there are none": (
        "repository",
        "write('.hermes/config.toml')",
        ".hermes/config.toml",
    ),
    "make them where there is no repository": ("nothing", "write('.hermes/config.toml')", ".hermes/config.toml"),
    "make a repository with hooks": ("nothing", "write('.git/hooks/pre-commit')", ".git/hooks/pre-commit"),
    "make a repository with settings that run programs": ("nothing", "write('.git/config')", ".git/config"),
    "lead a worktree to another repository": ("worktree", "os.unlink(workspace + '/.git'); write('.git')", ".git"),
    "write the hooks of a worktree's repository": (
        "worktree",
        "write('../main/hooks/pre-commit')",
        "../main/hooks/pre-commit",
    ),
}
"""What may be made in a workspace, but not with effect: what is there before, what is tried, and the file in which
nothing of it may be found when the command is over."""
WORK: dict[str, str] = {
    "write in the workspace": "open(workspace + '/src/x', 'w')",
    "write in /tmp": "open('/tmp/x', 'w')",
    "make a pair of sockets": "socket.socketpair()",
    "start programs": "import subprocess; subprocess.run(['/bin/sh', '-c', ':'], check=True)",
}
"""What must be possible; without it nothing is proved."""

_NETWORK = frozenset(
    {"open a TCP connection", "listen on a TCP port", "send UDP", "open an abstract socket", "open a socket on a path"}
)
_BEFORE = """
import ctypes, os, socket, sys
workspace, outside, secret, ssh, name = sys.argv[1:6]
port, udp, pid = map(int, sys.argv[6:9])
libc = ctypes.CDLL(None)
def own_network():
    return {name for _, name in socket.if_nameindex()} == {'lo'}
def write(name):
    path = workspace + '/' + name
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'w').write('[core]\\nfsmonitor = evil')
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one: `held` None when there was nothing to try it on."""

    name: str
    held: bool | None
    should_hold: bool = True


def attempts(sandbox: Sandbox, home: Path, *, means: Backend | None = None) -> Iterator[Attempt]:
    """Try everything, in folders below `home` that are gone afterwards; `home` may not lie in /tmp."""
    with _scene(home) as scene:
        wall = replace(sandbox, hidden=(*sandbox.hidden, scene.hidden))
        prefix = wall.prefix(scene.workspace, scene.workspace, means=means)

        def tried(name: str) -> Attempt:
            if name in MADE:
                return Attempt(name, _came_to_nothing(wall, name, scene, means))
            if name in WORK:
                possible = sandbox.mode == "workspace-write" or name != "write in the workspace"
                return Attempt(name, _got_through(prefix, WORK[name], scene) is possible)
            if name == "read ~/.ssh" and not _is_there(scene.ssh):
                return Attempt(name, None)
            open_ = sandbox.network and name in _NETWORK
            return Attempt(name, not _got_through(prefix, ATTEMPTS[name], scene), not open_)

        with ThreadPoolExecutor(4, thread_name_prefix="breakout") as pool:
            yield from pool.map(tried, [*WORK, *ATTEMPTS, *MADE])


@dataclass(frozen=True, slots=True)
class _Scene:
    workspace: Path
    outside: Path
    hidden: Path
    ssh: Path
    name: str
    port: int
    udp: int
    pid: int

    @property
    def arguments(self) -> list[str]:
        secret = self.hidden / "secret"
        texts = [str(part) for part in (self.workspace, self.outside, secret, self.ssh)]
        return [*texts, self.name, str(self.port), str(self.udp), str(self.pid)]


@contextmanager
def _scene(home: Path) -> Iterator[_Scene]:
    with ExitStack() as stack:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hermes-check-", dir=home)))
        for folder in ("workspace/.git/hooks", "workspace/.hermes", "workspace/src", "outside", "hidden"):
            (top / folder).mkdir(parents=True)
        for file in ("workspace/.git/config", "outside/there", "hidden/secret"):
            (top / file).write_text("x")
        name = f"hermes-check-{os.getpid()}"
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        if sys.platform == "linux":
            abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
            abstract.bind(f"\0{name}")
            abstract.listen()
            _listen_in(top / "outside", stack)
        _echo(udp)
        port, udp_port = server.getsockname()[1], udp.getsockname()[1]
        ssh = Path.home() / ".ssh"
        yield _Scene(top / "workspace", top / "outside", top / "hidden", ssh, name, port, udp_port, os.getpid())


def _listen_in(folder: Path, stack: ExitStack) -> None:
    """A socket in a folder, whose whole path may be longer than an address can be."""
    there = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, there)
    on_path = stack.enter_context(socket.socket(socket.AF_UNIX))
    on_path.bind(f"/proc/self/fd/{there}/socket")
    on_path.listen()


def _came_to_nothing(wall: Sandbox, name: str, scene: _Scene, means: Backend | None) -> bool:
    before, code, path = MADE[name]
    with tempfile.TemporaryDirectory(dir=scene.workspace.parent) as folder:
        workspace = _set_out(Path(folder), before)
        guard = wall.guard(workspace)
        _got_through(wall.prefix(workspace, workspace, means=means), code, replace(scene, workspace=workspace))
        if guard is not None:
            guard.settle()
        made = workspace / path
        return not made.is_file() or "evil" not in made.read_text()


def _set_out(folder: Path, before: str) -> Path:
    """A workspace in a folder of its own, with as little of a repository as git needs."""
    workspace, main = folder / "work", folder / "main"
    workspace.mkdir()
    match before:
        case "repository":
            (workspace / ".git" / "modules" / "m").mkdir(parents=True)
            (workspace / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        case "worktree":
            (main / "hooks").mkdir(parents=True)
            (main / "worktrees" / "work").mkdir(parents=True)
            (main / "worktrees" / "work" / "commondir").write_text("../..\n")
            (workspace / ".git").write_text(f"gitdir: {main / 'worktrees' / 'work'}\n")
    return workspace


def _echo(udp: socket.socket) -> None:
    """Answer what comes, until the socket is closed."""
    import threading

    udp.settimeout(60)

    def answer() -> None:
        try:
            while True:
                data, sender = udp.recvfrom(16)
                udp.sendto(data, sender)
        except OSError:
            return

    threading.Thread(target=answer, daemon=True, name="breakout").start()


def _got_through(prefix: list[str], code: str, scene: _Scene) -> bool:
    # Past links, for the one in a virtual environment may lie where the wall hides it.
    command = [*prefix, str(Path(sys.executable).resolve()), "-I", "-S", "-c", f"{_BEFORE}\n{code}\n", *scene.arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _is_there(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False
