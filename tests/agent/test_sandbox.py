"""The wall around commands: it holds against every way out that is known here, and nothing pretends to be one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.approvals import Policy
from agent.breakout import attempts
from agent.cancel import CancelToken
from agent.config import SandboxMode, Settings, directories
from agent.errors import ToolError
from agent.protocols import Action, Approved, ToolContext
from agent.records import Limits
from agent.sandbox import BACKENDS, KNOWN_GAPS, Backend, Sandbox, backend, problem, sandbox_for
from agent.tools.bench import Workbench
from agent.tools.terminal import SandboxedArguments, Terminal, TerminalArguments


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder beyond /tmp, which commands behind the wall may write."""
    import tempfile

    for top in ("/var/lib", "/opt", str(Path.cwd())):
        if os.access(top, os.W_OK) and not Path(top).resolve().is_relative_to("/tmp"):
            with tempfile.TemporaryDirectory(dir=top) as folder:
                yield Path(folder)
                return
    pytest.skip("there is no folder beyond /tmp that may be written")


def require(means: Backend) -> None:
    if why := problem(means):
        pytest.skip(f"{means}: {why}")


@pytest.mark.parametrize("means", BACKENDS)
@pytest.mark.parametrize("mode", ["read-only", "workspace-write"])
def test_no_way_out_is_open(means: Backend, mode: str, place: Path) -> None:
    require(means)
    done = list(attempts(Sandbox(mode), place, means=means))  # type: ignore[arg-type]
    out = {attempt.name for attempt in done if attempt.held is False}
    assert out <= KNOWN_GAPS[means]
    assert len(done) > 20


@pytest.mark.parametrize("means", BACKENDS)
def test_the_network_is_there_when_it_is_on_and_nothing_else_opens(means: Backend, place: Path) -> None:
    require(means)
    done = {attempt.name: attempt for attempt in attempts(Sandbox("workspace-write", True), place, means=means)}
    assert done["open a TCP connection"].held is False
    assert {name for name, found in done.items() if found.should_hold and found.held is False} <= KNOWN_GAPS[means]


def test_what_is_secret_in_a_home_is_hidden(home: Path) -> None:
    sandbox = sandbox_for(Settings(sandbox="read-only"), directories())
    assert sandbox is not None
    assert {home / ".ssh", home / ".aws", directories().config, directories().state} <= set(sandbox.hidden)
    assert sandbox_for(Settings(), directories()) is None


def test_the_rules_for_macos_forbid_before_they_are_asked(tmp_path: Path) -> None:
    """Seatbelt itself is not to be had here: the text is looked at, nothing more."""
    (tmp_path / "hidden").mkdir()
    profile = Sandbox("workspace-write", hidden=(tmp_path / "hidden",)).seatbelt_profile(tmp_path / "work")
    lines = profile.split("\n")
    assert lines[:3] == ["(version 1)", "(allow default)", "(deny file-write*)"]
    writable = lines.index(f'(allow file-write* (subpath "{tmp_path / "work"}"))')
    assert lines.index(f'(deny file-write* (subpath "{tmp_path / "work" / ".git/hooks"}"))') > writable
    assert f'(deny file* (subpath "{tmp_path / "hidden"}"))' in lines[writable:]
    assert lines[-1] == "(deny network*)"
    assert "(deny network*)" not in Sandbox("read-only", True).seatbelt_profile(tmp_path)


# -- commands --------------------------------------------------------------------------------------


class Nowhere(Sandbox):
    """A machine on which no means works."""

    @property
    def works(self) -> bool:
        return False


def terminal(sandbox: Sandbox | None) -> Terminal:
    bench = Workbench()
    bench.sandbox = sandbox
    return Terminal(bench)


def verdict(tool: Terminal, command: str, cwd: Path, *, outside: bool = False) -> str:
    args = SandboxedArguments(command, outside=outside) if outside else TerminalArguments(command)
    return Policy("ask").verdict("terminal", tool.plan(args, ToolContext(cwd)), cwd).verdict


def test_behind_the_wall_commands_of_the_workspace_are_not_asked_for(tmp_path: Path) -> None:
    if backend() is None:
        pytest.skip("no sandbox works here")
    tool = terminal(Sandbox("workspace-write"))
    for command in ("make", "python3 x.py > out.txt", "rm -rf build && npm test"):
        assert verdict(tool, command, tmp_path) == "allow"
        assert verdict(tool, command, tmp_path, outside=True) == "ask"
    assert verdict(tool, "$x", tmp_path) == "ask"
    assert verdict(tool, "rm -rf /", tmp_path) == "deny"
    assert verdict(tool, "echo x > ../x", tmp_path) == "ask"


def test_with_the_network_on_commands_are_asked_for_as_ever(tmp_path: Path) -> None:
    tool = terminal(Sandbox("workspace-write", True))
    assert verdict(tool, "curl https://example.org", tmp_path) == "ask"


def test_where_no_sandbox_works_every_command_is_asked_for(tmp_path: Path) -> None:
    assert verdict(terminal(Nowhere("workspace-write")), "ls", tmp_path) == "ask"
    assert verdict(terminal(None), "ls", tmp_path) == "allow"


@pytest.mark.parametrize("asked", ["off", "read-only", "workspace-write"])
def test_nobody_lets_out_a_command_of_whoever_has_limits(asked: SandboxMode, tmp_path: Path) -> None:
    limited = sandbox_for(Settings(sandbox=asked), directories(), Limits())
    assert limited is not None
    tool, context = terminal(limited), ToolContext(tmp_path)
    assert tool.arguments is TerminalArguments
    assert "outside" not in tool.description
    leaving = SandboxedArguments("echo x", outside=True)
    for refuse in (tool.plan, tool.preview):
        with pytest.raises(ToolError, match="only in a sandbox"):
            refuse(leaving, context)
    with pytest.raises(ToolError, match="only in a sandbox"):
        tool.run(leaving, context.for_call("c", Approved(Action("execute", "echo x", outside=True))), CancelToken())


def test_where_no_sandbox_works_whoever_has_limits_runs_nothing(tmp_path: Path) -> None:
    tool, context = terminal(Nowhere("workspace-write", must=True)), ToolContext(tmp_path)
    args = TerminalArguments("echo x")
    with pytest.raises(ToolError, match="none works on this machine"):
        tool.plan(args, context)
    with pytest.raises(ToolError, match="none works on this machine"):
        tool.run(args, context.for_call("c", Approved(Action("execute", "echo x"))), CancelToken())


def test_a_command_that_fails_is_not_told_of_a_way_out_that_there_is_not(tmp_path: Path) -> None:
    if backend() is None:
        pytest.skip("no sandbox works here")
    tool, context = terminal(Sandbox("workspace-write", must=True)), ToolContext(tmp_path)
    args = TerminalArguments("false")
    result = tool.run(args, context.for_call("c", Approved(tool.plan(args, context))), CancelToken())
    assert "exit 1" in result.content
    assert "outside" not in result.content


def test_only_a_tool_with_a_sandbox_tells_of_it() -> None:
    assert terminal(None).arguments is TerminalArguments
    assert terminal(Sandbox("read-only")).arguments is SandboxedArguments
    assert "they write in /tmp only" in terminal(Sandbox("read-only")).description


def test_a_command_that_fails_behind_the_wall_is_told_how_to_leave_it(place: Path) -> None:
    if backend() is None:
        pytest.skip("no sandbox works here")
    (place / "work").mkdir()
    tool, context = terminal(Sandbox("workspace-write")), ToolContext(place / "work")

    def run(command: str, *, outside: bool = False) -> str:
        args = SandboxedArguments(command, outside=outside)
        approved = Approved(tool.plan(args, context))
        return tool.run(args, context.for_call("call_1", approved), CancelToken()).content

    assert "outside=true" in run("echo x > ../x")
    assert not (place / "x").exists()
    assert "exit 0" in run("mkdir src; cd src && echo y > y; pwd")
    assert run("pwd").startswith(f"{place / 'work' / 'src'}\n")
    assert "exit 0" in run(f"echo x > {place}/x", outside=True)
    assert (place / "x").read_text() == "x\n"


def test_a_command_behind_the_wall_can_have_a_terminal(place: Path) -> None:
    if backend() is None:
        pytest.skip("no sandbox works here")
    tool, context = terminal(Sandbox("workspace-write")), ToolContext(place)
    args = SandboxedArguments("tty && test -t 0 && echo yes", pty=True)
    assert "yes" in tool.run(args, context.for_call("c", Approved(tool.plan(args, context))), CancelToken()).content


# -- what of a workspace other programs run --------------------------------------------------------


@pytest.fixture(params=["bubblewrap", "landlock"])
def wall(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A wall in a workspace, by each means that works here."""
    require(request.param)
    monkeypatch.setattr("agent.sandbox.backend", lambda: request.param)
    return Sandbox("workspace-write")


def behind(wall: Sandbox, command: str, cwd: Path) -> tuple[str, str]:
    """What a command behind the wall says to the model, and to the person."""
    tool, context = terminal(wall), ToolContext(cwd)
    args = SandboxedArguments(command)
    result = tool.run(args, context.for_call("c", Approved(tool.plan(args, context))), CancelToken())
    return result.content, result.summary


def test_a_plain_repository_can_be_made_and_its_hooks_are_shut_from_then_on(wall: Sandbox, place: Path) -> None:
    work = place / "work"
    work.mkdir()
    content, _ = behind(wall, "git init -q && git remote add origin https://example.org/x.git", work)
    assert "exit 0" in content
    assert (work / ".git" / "config").is_file()
    assert "Read-only" in (content := behind(wall, "echo x > .git/hooks/pre-commit", work)[0]) or "denied" in content
    assert not (work / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.parametrize(
    "how",
    [
        "git init -q && echo evil > .git/hooks/pre-commit",
        "git init -q && git config core.fsmonitor evil",
        "git init -q && printf '[core] fsmonitor = evil\\n' >> .git/config",
        "git init -q && printf '[include]\\npath = evil\\n' >> .git/config",
        "git init -q && printf '[core]\\nbare = false\\\\\\nfsmonitor = evil\\n' >> .git/config",
        "git init -q && git remote add origin 'ext::sh -c evil'",
        "git init -q && mkdir hooks && rm -r .git/hooks && ln -s ../hooks .git/hooks",
        "git init -q repo && mv repo/.git elsewhere && echo 'gitdir: elsewhere' > .git",
        "git init -q repo && ln -s repo/.git .git",
        "mkdir -p .git && echo elsewhere > .git/commondir",
    ],
)
def test_a_repository_that_would_run_programs_is_put_aside_and_told(how: str, wall: Sandbox, place: Path) -> None:
    work = place / "work"
    work.mkdir()
    content, summary = behind(wall, how, work)
    assert not os.path.lexists(work / ".git")
    (away,) = work.glob(".git.refused-*")
    for told in (content, summary):
        assert f".git may not be made or changed in the sandbox and was moved to {away.name}" in told


def test_the_file_that_leads_to_a_worktrees_repository_stays_what_it_was(wall: Sandbox, place: Path) -> None:
    work, led = place / "work", f"gitdir: {place}/main/.git/worktrees/work\n"
    (place / "main" / ".git" / "worktrees" / "work").mkdir(parents=True)
    work.mkdir()
    (work / ".git").write_text(led)
    behind(wall, "echo gitdir: x > .git; rm -f .git; mv .git y; echo gitdir: x > .git; ln -sf y .git", work)
    assert (work / ".git").read_text() == led
    assert not (work / ".git").is_symlink()


def test_what_a_mask_leaves_behind_is_gone_with_the_session(wall: Sandbox, place: Path) -> None:
    work = place / "work"
    (work / ".git").mkdir(parents=True)
    bench = Workbench()
    bench.sandbox = wall
    tool, context = Terminal(bench), ToolContext(work)
    args = SandboxedArguments("mkdir -p .hermes; echo x > .hermes/config.toml; ls")
    tool.run(args, context.for_call("c", Approved(tool.plan(args, context))), CancelToken())
    assert not (work / ".hermes" / "config.toml").exists()
    bench.close()
    assert not (work / ".hermes").exists()


def test_a_workspace_does_not_bring_hidden_places_back(wall: Sandbox, place: Path) -> None:
    """Neither those inside of it, nor those that it lies in itself."""
    home, state = place, place / "state"
    work = state / "worktrees" / "bg_1"
    for folder in (home / ".ssh", work, state / "outputs"):
        folder.mkdir(parents=True)
        (folder / "secret").write_text("secret words")
    hiding = Sandbox("workspace-write", hidden=(home / ".ssh", state))
    assert "secret words" not in behind(hiding, f"cat .ssh/secret {state}/outputs/secret; ls -la .ssh", home)[0]
    content = behind(hiding, f"cat secret; echo y > made; cat {state}/outputs/secret", work)[0]
    assert content.count("secret words") == 1
    assert (work / "made").exists()
