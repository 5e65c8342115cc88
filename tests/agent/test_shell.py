"""A command line taken apart: every command counts, and what cannot be read for certain is a doubt."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.reading import only_reads, paths_read
from agent.rules import Rule, covers_command, covers_line, pattern_for_line
from agent.shell import Line, parse


def commands(text: str) -> list[str]:
    """The commands of a line, in the order in which they are found."""
    return [" ".join(command.argv) for command in parse(text).commands if command.words]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with files, a link that leads out, and one named like an option."""
    inside = tmp_path / "work"
    (inside / "src").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    for name in ("a.txt", "a b.txt", "src/b.txt", "names"):
        (inside / name).write_text("text\n")
    (inside / "link-outside").symlink_to(tmp_path)
    (inside / "-x").symlink_to(tmp_path / "secret")
    return inside


def reads(text: str, folder: Path, start: Path | None = None) -> bool:
    return only_reads(parse(text), start or folder, folder)


# -- structure -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a; b && c || d | e & f", ["a", "b", "c", "d", "e", "f"]),
        ("(a; b) > x", ["a", "b"]),
        ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
        ("while a; do b; done; until c; do d; done", ["a", "b", "c", "d"]),
        ("case x in y) a;; *) b;; esac", ["a", "b"]),
        ('echo "$(a `b`)" <(c)', ["b", "a `b`", "c", "echo $(a `b`) <(c)"]),
        ("for f in 1 2; do a $f; done", ["a 1", "a 2"]),
        ("for f in 1 2; do f=3; a $f; done", ["a $f"]),
        ("cat <<E\n$(a)\nE\nb", ["cat", "a", "b"]),
        ("cat <<'E'\n$(a)\nE", ["cat"]),
        ("sh -c 'a; b'", ["sh -c a; b", "a", "b"]),
        ("bash -xc a", ["bash -xc a", "a"]),
        ("sudo -u me env X=1 timeout -s 9 5 nice a b", None),
        ("find . -exec a {} + -o -execdir b ';'", ["find . -exec a {} + -o -execdir b ;", "a {}", "b"]),
        ("ls | xargs -0 -n 1 a b", ["ls", "xargs -0 -n 1 a b", "a b"]),
        ("eval 'a; b'", ["eval a; b", "a", "b"]),
        ("r\\m 'a b' \"c d\" e'f'\"g\" \\;", ["rm a b c d efg ;"]),
    ],
)
def test_every_command_of_a_line_counts(text: str, found: list[str] | None) -> None:
    if found is None:
        assert commands(text)[-1] == "a b"
        assert len(commands(text)) == 5
    else:
        assert commands(text) == found
        assert parse(text).understood


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("f() { ls; }; f", "function"),
        ("$x a", "which program"),
        ("`a` b", "which program"),
        ("ls (", "well-formed"),
        ("sh x", "what sh would run"),
        ('sh -c "$x"', "put together"),
        ("sudo --weird ls", "what sudo would run"),
        ("echo ${x@P}", "expansion"),
        ("echo $((x))", "calculates"),
        ("[[ $x -eq 1 ]]", "compares"),
        ("cat <<E\nx", "well-formed"),
        ("cat <<A <<B\nA\nB", "well-formed"),
        ("cat <<E\nx\\\nE\nls\nE", "here-document"),
        ("ls\u200b", "not seen"),
        ("ls \x1b[2J", "not seen"),
        ("cat a\u00a0b", "not seen"),
        ("ls\r", "not seen"),
        ("\ud800", "not seen"),
        ("", "no command"),
        ("x" * 30_000, "too long"),
        ("sh -c " * 9 + "ls", "known"),
    ],
)
def test_what_cannot_be_read_for_certain_is_a_doubt(text: str, why: str, folder: Path) -> None:
    assert why in parse(text).doubt
    assert not reads(text, folder)


def test_the_commands_of_a_line_that_is_not_understood_still_count() -> None:
    assert "rm x" in commands("f() { rm x; }; f")
    assert "rm x" in commands("echo ${a[$(rm x)]}")


def test_words_that_are_known_only_when_it_runs_are_told_from_the_others() -> None:
    (command,) = parse('cat a "b c" *.py $x "$y" {d,e} ~nobody/f').commands
    assert [word.kind for word in command.words] == ["text", "text", "text", "glob", "open", "open", "open", "open"]


def test_files_a_command_is_connected_to_belong_to_it() -> None:
    (first, second) = parse("a < in > out 2>> log; b &> all").commands
    assert [word.text for word in first.reads] == ["in"]
    assert [word.text for word in first.writes] == ["out", "log"]
    assert [word.text for word in second.writes] == ["all"]


# -- generated lines -------------------------------------------------------------------------------

HARMFUL = ["rm a.txt", "touch x", "./run", "sh x", "$x", "curl x", "git push", "cat ../secret", "sort -o x a.txt"]
AROUND = [
    "@", "ls; @", "@ && ls", "ls | @", "@ | cat", "(@)", "{ @; }", "! @", "if @; then ls; fi",
    "for f in a b; do @; done", "while @; do ls; done", "echo $(@)", 'echo "$(@)"', "cat <(@)", "ls\n@", "@\nls",
    "case a in a) @;; esac", "[ -f a.txt ] && @", "ls \\\n && @", "@ # x", "time @", "@ &", "cat <<E\n$(@)\nE",
]  # fmt: skip


@given(st.sampled_from(HARMFUL), st.lists(st.sampled_from(AROUND), min_size=1, max_size=3))
def test_whatever_stands_around_a_harmful_command_it_is_seen(harmful: str, around: list[str]) -> None:
    text = harmful
    for form in around:
        text = form.replace("@", text)
    assert not reads(text, Path("/nowhere"))


@given(st.text(alphabet="ls cat;|&$(){}`'\"\\<>\n*?[]~#!=-_./aE", max_size=40))
@example("cat <<E\nE\nrm a")
@example("echo '\\'; rm a")
def test_a_line_that_bash_would_not_take_or_that_writes_is_never_plain(text: str) -> None:
    line = parse(text)
    assert isinstance(line, Line)
    if only_reads(line, Path("/nowhere/at/all"), Path("/nowhere/at/all")):
        assert "rm" not in [command.name for command in line.commands]
        assert not [word for command in line.commands for word in command.writes if word.text != "/dev/null"]


PIECES = (
    "a b c1 \\ ' \" ` $( ) ( { } ; & && || | > < <<E\n E\n \n # ! = x= * ~ $x ${x} $'a' if then fi for in do done case "
    "esac while time \\\n [ ] [[ ]] - << >& 2> /dev/null $(( )) ;; , . \t"
).split(" ")


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs of one letter that write down their names, and a folder to run them in."""
    top = tmp_path_factory.mktemp("stubs")
    (top / "work").mkdir()
    (top / "bin").mkdir()
    for name in ("a", "b", "c1", "aa", "ab", "ba", "bb"):
        (top / "bin" / name).write_text(f'#!/bin/sh\necho {name} >> "{top}/log"\n')
        (top / "bin" / name).chmod(0o755)
    return top


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=2, max_size=14), glue=st.sampled_from(["", " "]))
def test_bash_runs_nothing_in_a_line_but_what_was_found_in_it(stubs: Path, pieces: list[str], glue: str) -> None:
    """Bash itself is the judge: in a line that is understood it runs no program that was not seen."""
    text = glue.join(pieces)
    line = parse(text)
    if not line.understood:
        return
    log = stubs / "log"
    log.write_text("")
    env = {"PATH": str(stubs / "bin")}
    subprocess.run(
        [shutil.which("bash") or "bash", "-c", text],
        cwd=stubs / "work", env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert set(log.read_text().split()) <= {command.name for command in line.commands}


QUOTED = st.sampled_from(["'{}'", '"{}"', "{}", "\\{}", "''{}", '{}""'])


@given(st.text(alphabet="abc/._-", min_size=1, max_size=12), st.lists(QUOTED, min_size=1, max_size=1))
def test_quotes_around_a_word_change_nothing(word: str, forms: list[str]) -> None:
    (command,) = parse("cat " + forms[0].format(word)).commands
    assert command.argv == ("cat", word)


# -- reading ---------------------------------------------------------------------------------------


def test_what_a_line_reads_is_known(folder: Path) -> None:
    def read(text: str) -> frozenset[Path] | None:
        return paths_read(parse(text), folder, folder)

    assert read("cat a.txt | head -n 3 src/b.txt") == {folder / "a.txt", folder / "src/b.txt"}
    assert read("ls") == {folder}
    assert read("grep -rn x") == {folder}
    assert read("echo a.txt; date") == frozenset()
    assert read("cat < names") == {folder / "names"}
    assert read("cat src/*.txt") == {folder / "src/b.txt"}
    assert read("make") is None


def test_a_shell_that_went_elsewhere_reads_there(folder: Path) -> None:
    assert reads("cat b.txt", folder, folder / "src")
    assert reads("cat ../a.txt", folder, folder / "src")
    assert not reads("cat ../a.txt", folder)
    assert not reads("ls", folder, folder.parent)
    assert not reads("git status", folder, folder.parent)


def test_a_change_of_folder_counts_for_what_comes_after_it(folder: Path) -> None:
    assert reads("cd src && cat b.txt", folder)
    assert not reads("cd src; cat ../../secret", folder)
    assert not reads("cd .. && cat secret", folder)
    assert not reads("cd $x && ls", folder)
    assert not reads("cd - && ls", folder)
    assert not reads("while true; do cat ../secret; cd src; done", folder)
    assert not reads("pushd src && ls", folder)


def test_a_wildcard_is_what_it_stands_for(folder: Path) -> None:
    assert reads("cat src/*", folder)
    assert reads("cat *.txt", folder)
    assert not reads("cat *", folder)
    assert not reads("ls -d link-*", folder)
    assert not reads("cat link-outside/*", folder)


def test_a_working_directory_that_is_itself_a_link_counts_as_where_it_leads(folder: Path) -> None:
    alias = folder.parent / "alias"
    alias.symlink_to(folder)
    assert reads("cat a.txt", alias)
    assert not reads("cat ../secret", alias)


# -- standing answers ------------------------------------------------------------------------------

SOMETHING_TO_RUN = "python3.11 node pip cargo go vim tar make npm git ssh find xargs env gdb java curl cat sed awk"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("pytest -q tests", "pytest *"),
        ("ruff check 'a b'", "ruff *"),
        ("ls", "ls"),
        ("./pytest -q", "./pytest -q"),
        *((f"{program} x", f"{program} x") for program in SOMETHING_TO_RUN.split()),
        ("pytest && rm x", "pytest && rm x"),
        ("pytest > log", "pytest > log"),
        ("A=1 pytest", "A=1 pytest"),
        ("rm *", "rm [*]"),
        ("$x a", "$x a"),
    ],
)
def test_always_covers_a_checker_or_else_this_line_only(text: str, pattern: str) -> None:
    assert pattern_for_line(text) == pattern
    rule = Rule("terminal", pattern, "allow")
    assert covers_line(rule, text) or covers_command(rule, parse(text).commands[0])


def test_a_line_with_a_wildcard_that_was_allowed_allows_no_other() -> None:
    rule = Rule("terminal", pattern_for_line("rm *"), "allow")
    assert covers_command(rule, parse("rm x").commands[0]) is False
    assert not covers_line(rule, "rm x")


@pytest.mark.parametrize(
    ("pattern", "text", "said"),
    [
        ("pytest *", "pytest", True),
        ("pytest *", "pytest -q 'a b' $x", True),
        ("pytest *", "pytester", False),
        ("pytest *", "./pytest", False),
        ("git log *", "git log -1", True),
        ("git log *", "git push", False),
        ("git log", "git log -1", False),
        ("npm run test:*", "npm run test:unit", True),
        ("npm run test:*", "npm run build", False),
        ("npm run test:*", "npm run $x", None),
        ("make [ab]", "make a", True),
        ("git commit -m 'a b'", "git commit -m 'a b'", True),
        ("rm x", "rm $y", None),
        ("ls > x", "ls", False),
    ],
)
def test_a_pattern_covers_a_command_word_by_word(pattern: str, text: str, said: bool | None) -> None:
    assert covers_command(Rule("terminal", pattern, "allow"), parse(text).commands[0]) is said


def test_a_restriction_covers_a_program_wherever_it_lies() -> None:
    command = parse("/bin/cat a").commands[0]
    assert covers_command(Rule("terminal", "cat *", "deny"), command) is True
    assert covers_command(Rule("terminal", "cat *", "allow"), command) is False


@pytest.mark.parametrize(("place", "read"), [(".asdf/shims", False), (".volta/bin", False), (".pyenv/shims", True)])
def test_a_program_that_the_folder_could_swap_for_its_own_is_not_free(
    place: str, read: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / place
    programs.mkdir(parents=True)
    (programs / "jq").write_text("#!/bin/sh\n")
    (programs / "jq").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert reads("jq --version", folder) is read
    assert reads("jq . a.txt", folder) is read
