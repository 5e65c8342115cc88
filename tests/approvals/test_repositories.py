"""Git is asked for where the repository, a submodule or a hook would have it run something; elsewhere it is free."""

import os
import subprocess
from pathlib import Path

import pytest

from agent.approvals import Policy
from agent.protocols import Action

pytestmark = pytest.mark.timeout(60)


def git(*words: str, cwd: Path) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a submodule that is checked out."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    for place in (inner, outer):
        place.mkdir()
        (place / "a.txt").write_text("text\n")
        git("init", "-q", cwd=place)
        git("add", ".", cwd=place)
        git("commit", "-qm", "one", cwd=place)
    git("submodule", "add", "-q", str(inner), "sub", cwd=outer)
    git("commit", "-qm", "two", cwd=outer)
    return outer


def verdict(line: str, cwd: Path) -> str:
    return Policy("ask").verdict("terminal", Action("execute", line, command=line), cwd).verdict


LINES = [
    "git status",
    "git diff",
    "git log -p -1",
    "git show HEAD",
    "git blame a.txt",
    "cd sub && git status",
    "git -C sub log",
]


@pytest.mark.parametrize("line", LINES)
def test_an_ordinary_repository_with_submodules_is_looked_at_unasked(line: str, repository: Path) -> None:
    git("remote", "add", "origin", "git@example.org:a/b.git", cwd=repository)
    git("config", "branch.main.merge", "refs/heads/main", cwd=repository)
    git("config", "user.email", "a@b", cwd=repository)
    git("config", "blame.ignoreRevsFile", ".ignore-revs", cwd=repository)
    git("config", "core.hooksPath", ".husky", cwd=repository)
    assert verdict(line, repository) == "allow"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("diff.external", "./evil"),
        ("diff.x.command", "./evil"),
        ("diff.x.textconv", "./evil"),
        ("filter.x.clean", "./evil"),
        ("filter.x.process", "./evil"),
        ("core.pager", "./evil"),
        ("pager.log", "./evil"),
        ("core.sshCommand", "./evil"),
        ("core.worktree", "/"),
        ("gpg.program", "./evil"),
        ("log.showSignature", "true"),
        ("alias.whatchanged", "!./evil"),
        ("include.path", "../evil"),
        ("includeIf.gitdir:/.path", "../evil"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", "./evil"),
        ("extensions.partialClone", "origin"),
        ("core.alternateRefsCommand", "./evil"),
        ("trailer.x.command", "./evil"),
        ("blame.ignoreRevsFile", "/etc/passwd"),
        ("status.submoduleSummary", "true"),
    ],
)
def test_git_is_asked_for_where_the_repository_names_a_program(setting: str, value: str, repository: Path) -> None:
    assert verdict("git diff", repository) == "allow"
    git("config", setting, value, cwd=repository)
    assert verdict("git diff", repository) == "ask"
    assert verdict("cd sub/.. && git status", repository) == "ask"


@pytest.mark.parametrize(
    "text",
    [
        "[diff] external = ./evil\n",
        '[DIFF "x"]\n\tTextConv=./evil\n',
        "[core]\n\tautocrlf = a\\\n[user]\n\texternal = ./evil\n",
        "[user]\n\tname = a\r[diff]\n\texternal = ./evil\n",
        "[diff.x]\n\tcommand = ./evil\n",
        "\ufeff[diff]\n\texternal = ./evil\n",
        "[diff]\n\tx = a\x0c[user]\n\texternal = ./evil\n",
        '[core]\n\thooksPath = ./"evil"\n',
        "[user\n",
    ],
)
def test_however_it_is_written(text: str, repository: Path) -> None:
    with (repository / ".git" / "config").open("a", newline="") as config:
        config.write(text)
    assert verdict("git diff", repository) == "ask"


def test_settings_of_a_worktree_count(repository: Path) -> None:
    git("config", "extensions.worktreeConfig", "true", cwd=repository)
    git("worktree", "add", "-q", "../second", cwd=repository)
    second = repository.parent / "second"
    assert verdict("git status", second) == "allow"
    git("config", "--worktree", "diff.external", "./evil", cwd=second)
    assert (verdict("git status", second), verdict("git status", repository)) == ("ask", "allow")


@pytest.mark.parametrize("hooks", [".git/hooks", ".husky"])
def test_the_one_hook_that_looking_runs_is_asked_for(hooks: str, repository: Path) -> None:
    (repository / hooks).mkdir(exist_ok=True)
    git("config", "core.hooksPath", hooks, cwd=repository)
    (repository / hooks / "pre-commit").touch()
    assert verdict("git status", repository) == "allow"
    (repository / hooks / "post-index-change").touch()
    assert verdict("git status", repository) == "ask"


@pytest.mark.parametrize("setting", ["core.fsmonitor", "filter.x.clean", "diff.external"])
def test_a_submodule_with_programs_of_its_own_is_not_looked_into(setting: str, repository: Path) -> None:
    git("config", setting, "./evil", cwd=repository / "sub")
    assert verdict("git status", repository) == "ask"
    (repository / "sub" / ".git").unlink()
    assert verdict("git status", repository) == "allow"


def test_what_is_no_repository_hides_none_above(repository: Path) -> None:
    (repository / "deep" / ".git").mkdir(parents=True)
    assert verdict("git status", repository / "deep") == "allow"
    git("config", "diff.external", "./evil", cwd=repository)
    assert verdict("git status", repository / "deep") == "ask"


def test_an_index_that_cannot_be_read_is_asked_for(repository: Path) -> None:
    git("update-index", "--index-version", "4", cwd=repository)
    assert verdict("git status", repository) == "ask"


@pytest.mark.parametrize(
    "line", ["git -C bare status", "cd bare && git log", "git -C bare/refs show", "cd .git && git status"]
)
def test_git_is_asked_for_in_a_repository_without_a_worktree(line: str, repository: Path) -> None:
    git("init", "-q", "--bare", "bare", cwd=repository)
    assert verdict("git status", repository) == "allow"
    assert verdict(line, repository) == "ask"


@pytest.fixture
def nested(repository: Path) -> Path:
    """A folder with a `.git` of its own, in a repository that would run something."""
    inner = repository / "nested"
    inner.mkdir()
    git("init", "-q", cwd=inner)
    git("config", "diff.external", "./evil", cwd=repository)
    return inner


def test_a_repository_within_another_is_looked_at_by_itself(nested: Path) -> None:
    assert verdict("git diff", nested) == "allow"
    assert verdict("git -C nested diff", nested.parent) == "allow"
    (nested / ".git" / "HEAD").write_text("1234567890" * 4 + "\n")
    assert verdict("git diff", nested) == "allow"


@pytest.mark.parametrize(
    "head",
    [
        "",
        "x\n",
        "ref: ref",
        "ref: elsewhere\n",
        "123456\n",
        "ref: refs/heads/a\0\n",
        "\nref: refs/heads/a\n",
        "refs/heads/a\n",
    ],
)
def test_a_head_that_git_may_not_take_for_one_hides_no_repository_above(head: str, nested: Path) -> None:
    (nested / ".git" / "HEAD").write_text(head)
    assert verdict("git diff", nested) == "ask"
    assert verdict("git -C nested diff", nested.parent) == "ask"
    assert verdict("cd nested && git status", nested.parent) == "ask"


@pytest.mark.parametrize("missing", ["objects", "refs"])
@pytest.mark.parametrize("instead", ["nothing", "a file", "a loop"])
def test_a_repository_that_lacks_a_folder_hides_none_above(missing: str, instead: str, nested: Path) -> None:
    there = nested / ".git" / missing
    there.rename(nested / "aside")
    if instead == "a file":
        there.touch()
    elif instead == "a loop":
        there.symlink_to(there)
    assert verdict("git diff", nested) == "ask"


def test_a_head_that_is_a_link_or_no_file_hides_no_repository_above(nested: Path) -> None:
    head = nested / ".git" / "HEAD"
    for target in ("nowhere", "../a", "refs"):
        head.unlink()
        head.symlink_to(target)
        assert verdict("git diff", nested) == "ask"


@pytest.mark.parametrize(
    "text",
    [
        "gitdir:  {}\n",
        "gitdir: {} \n",
        "gitdir: {}\0\n",
        "gitdir: {}\v\n",
        "gitdir: {}\t",
        "gitdir: {}\r\n",
        "gitdir: {}\n\n",
        "gitdir: \f{}",
        "gitdir:{}",
        "gitdir:\t{}",
        " gitdir: {}",
        "{}",
        "",
    ],
)
def test_a_file_that_leads_to_a_repository_in_an_unusual_way_is_asked_for(text: str, repository: Path) -> None:
    named = repository / "sub" / ".git"
    where = named.read_text().removeprefix("gitdir: ").strip()
    assert verdict("git status", repository / "sub") == "allow"
    named.write_bytes(text.replace("{}", where).encode())
    assert verdict("git status", repository / "sub") == "ask"
    assert verdict("git status", repository) == "ask"


@pytest.mark.parametrize(
    "text", ["{} ", " {}", "{}\0", "{}\v", "{}\t\n", "{}\r\n", "\n{}", "{}\n\n", "", "{}\f", "../elsewhere\n"]
)
def test_what_worktrees_share_has_to_be_plainly_named(text: str, repository: Path) -> None:
    git("worktree", "add", "-q", "../second", cwd=repository)
    second = repository.parent / "second"
    shared = repository / ".git" / "worktrees" / "second" / "commondir"
    where = shared.read_text().strip()
    assert verdict("git status", second) == "allow"
    shared.write_bytes(text.replace("{}", where).encode())
    assert verdict("git status", second) == "ask"


def test_a_pipe_in_the_place_of_a_file_of_gits_is_not_waited_for(nested: Path) -> None:
    for name in ("HEAD", "commondir", "config"):
        place = nested / ".git" / name
        place.unlink(missing_ok=True)
        os.mkfifo(place)
        assert verdict("git diff", nested) == "ask"
        place.unlink()
        (nested / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
