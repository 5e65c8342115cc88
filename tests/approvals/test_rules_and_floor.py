"""What an ordinary rule cannot lift: the floor holds for every spelling, and what cannot be known is asked for."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.approvals import Policy
from agent.config import Directories
from agent.protocols import Action
from agent.rules import Rule

PROGRAMS = "cp mv rm tar tee ln sed find xargs chmod cd mkdir touch hermes uv git curl env".split()
RULES = [Rule("terminal", f"{program} *", "allow") for program in PROGRAMS]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "person" / ".config" / "hermes"
    home.mkdir(parents=True)
    monkeypatch.setenv("HERMES_HOME", str(home))
    return home


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "work" / "src").mkdir(parents=True)
    (tmp_path / "work" / "a.txt").touch()
    return tmp_path / "work"


def verdict(line: str, home: Path, cwd: Path) -> str:
    dirs = Directories(home, home / "state", home / "cache")
    text = line.replace("{home}", str(home)).replace("{top}", str(cwd.parent))
    return Policy("ask", RULES, dirs=dirs).verdict("terminal", Action("execute", text, command=text), cwd).verdict


FORBIDDEN = """
cp a.txt "$HERMES_HOME"/policy.toml
cp a.txt $HERMES_HOME/policy.toml
cp a.txt ${HERMES_HOME}/policy.toml
cp a.txt "${HERMES_HOME}/policy.toml"
cp a.txt "$HERMES_HOME"/../hermes/policy.toml
cp a.txt {top}/per?on/.config/hermes/policy.toml
cp a.txt {top}/*/.config/h[a-e]rmes/policy.toml
cp a.txt "$HERMES_HOME"/*.toml
x={home}; cp a.txt $x/policy.toml
x={home}; y="$x"; cp a.txt "$y"/policy.toml
p=policy; cp a.txt {home}/$p.toml
for f in a.txt {home}/policy.toml; do rm "$f"; done
for f in policy config; do rm {home}/"$f".toml; done
tar -C "$HERMES_HOME" -xf a.tar
tar -C"$HERMES_HOME" -xf a.tar
tar --directory="$HERMES_HOME" -xf a.tar
sed -i s/deny/allow/ "$HERMES_HOME"/policy.toml
curl -o "$HERMES_HOME"/policy.toml example.org
ln -s "$HERMES_HOME" link
env cp a.txt "$HERMES_HOME"/policy.toml
cd "$HERMES_HOME" && rm policy.toml
x={home}; cd $x; rm policy.toml
cp a.txt $(printf %s {home})/policy.toml
mv / /x
mv ~ /tmp/x
mv "$HOME" /tmp/x
mv -t /tmp/x ~
mv /etc /tmp/x
mv {top}/person /tmp/x
mv {top}/person/.config x
mv {top}/p* x
rm -r {top}/person
chmod -R 700 {top}/person
x=/; rm -rf $x
x=/; y=$x; rm -rf "$y"
x=/; rm -rf "$x"*
for d in / a; do rm -rf "$d"; done
rm -rf /e?c
rm -rf /[e]tc
hermes config set approvals yolo
hermes config edit
hermes --yolo -p x
hermes -p x --yolo
hermes tasks approve 1
hermes pairing approve telegram X
uv run hermes --yolo -p x
HERMES_APPROVALS=yolo hermes -p x
"""

ASKED = """
rm -rf $(cat a.txt)
rm -rf `cat a.txt`
rm -rf "$UNKNOWN_HERE"/x
rm -rf ${x:-/}
x=$(echo /); rm -rf $x
read -r x < a.txt; rm -rf "$x"
printf -v x %s /; rm -rf $x
rm -rf {/,x}
rm -rf $'/'
cp -r src {top}/person
cp a.txt {top}/person/.config/
tar -C {top} -xf a.tar
find {top}/person -delete
find {top}/person -exec rm {} +
cat a.txt | xargs rm
xargs -I% cp a.txt % < a.txt
cd $UNKNOWN_HERE && rm policy.toml
cd "$(cat a.txt)" && tar -xf a.tar
sed -i s/a/b/ "$UNKNOWN_HERE"
PATH=./bin git push
LD_PRELOAD=./x.so git push
GIT_SSH_COMMAND=./x git push
hermes -p x
hermes "$x"
hermes sessions show 1
"""

ALLOWED = """
rm -rf build dist
rm -f src/*.pyc
cp a.txt b.txt
cp "$PWD"/a.txt src
cp $HOME/x.txt src
x=build; rm -rf "$x"
for d in build dist; do rm -rf "$d"; done
mv a.txt src/
mkdir -p build/x
tar -xf a.tar
tar -C src -xf a.tar
sed -i s/a/b/ a.txt
find . -name '*.pyc' -delete
cd src && rm -f x
git commit -m "$(cat a.txt)"
git push
hermes doctor
hermes --version
hermes config get model
"""


@pytest.mark.parametrize("line", FORBIDDEN.strip().split("\n"))
def test_no_rule_lifts_the_floor_however_it_is_spelled(line: str, home: Path, cwd: Path) -> None:
    assert verdict(line, home, cwd) == "deny"


@pytest.mark.parametrize("line", ASKED.strip().split("\n"))
def test_a_rule_does_not_allow_what_may_turn_out_to_be_below_the_floor(line: str, home: Path, cwd: Path) -> None:
    assert verdict(line, home, cwd) == "ask"


@pytest.mark.parametrize("line", ALLOWED.strip().split("\n"))
def test_a_rule_still_allows_what_it_was_written_for(line: str, home: Path, cwd: Path) -> None:
    assert verdict(line, home, cwd) == "allow"


CHECKERS = (
    "tar tf x.tar|make *|pytest *|perl x.pl|node x.js|ruby *|java -jar x.jar|man ls|less a.txt|rm src/*|CC=gcc ninja *"
)
STEERED = """
TAR_OPTIONS=--checkpoint-action=exec=./evil tar tf x.tar
TAPE='|./evil' tar tf x.tar
PERL5OPT=-Mevil perl x.pl
PERL5DB='BEGIN { system "./evil" }' perl x.pl
PYTEST_ADDOPTS='-p evil' pytest
PYTHONPATH=. pytest -q
NODE_OPTIONS='--require ./evil.js' node x.js
RUBYOPT=-r./evil ruby x.rb
JAVA_TOOL_OPTIONS=-javaagent:evil.jar java -jar x.jar
JDK_JAVA_OPTIONS=@evil java -jar x.jar
LESSOPEN='|./evil %s' less a.txt
MANPAGER=./evil man ls
MAKEFLAGS=--eval=x make
CC=./evil make
cc=./evil make
prefix='$(shell ./evil)' make
DEBUG='$(shell ./evil)' make
DEBUG="$(cat a.txt)" make
CI=1 MAKEFILES=evil make
CC=./evil ninja
CC=gcc CXX=./evil ninja
CC=gcc AR=ar tar tf x.tar
time TAR_OPTIONS=--use-compress-program=./evil tar tf x.tar
LANG=C TAR_OPTIONS=-I./evil tar tf x.tar
echo x; TAR_OPTIONS=-I./evil tar tf x.tar
export TAR_OPTIONS=-I./evil; tar tf x.tar
if true; then TAR_OPTIONS=-I./evil tar tf x.tar; fi
"""
UNSTEERED = """
tar tf x.tar
CI=1 make test
LANG=C.UTF-8 make
NO_COLOR=1 pytest -q
NODE_ENV=test node x.js
RUST_LOG=a=b,c ruby x.rb
TZ=Europe/Berlin COLUMNS=80 pytest
CC=gcc ninja
CC=gcc CI=1 ninja all
"""


def under_checkers(line: str, cwd: Path) -> str:
    rules = [Rule("terminal", pattern, "allow") for pattern in CHECKERS.split("|")]
    return Policy("ask", rules).verdict("terminal", Action("execute", line, command=line), cwd).verdict


@pytest.mark.parametrize("line", STEERED.strip().split("\n"))
def test_a_rule_covers_no_command_with_a_variable_that_may_steer_it(line: str, cwd: Path) -> None:
    assert under_checkers(line, cwd) == "ask"


@pytest.mark.parametrize("line", UNSTEERED.strip().split("\n"))
def test_a_rule_covers_a_command_with_variables_that_steer_nothing_or_that_it_names(line: str, cwd: Path) -> None:
    assert under_checkers(line, cwd) == "allow"


def test_a_rule_that_forbids_does_so_whatever_variables_are_set(cwd: Path) -> None:
    policy = Policy("ask", [Rule("terminal", "tar *", "deny")])
    for line in ("TAR_OPTIONS=-v tar tf x.tar", "x=1 tar tf x.tar"):
        assert policy.verdict("terminal", Action("execute", line, command=line), cwd).verdict == "deny"


WILD_AFTER_WRITES = """
echo 'touch pwned' > z.txt; : > --pre=sh; rg touch *sh
: > -R; grep -n x *
: > --files0-from=x; wc *
grep x * | cat > -R
{ echo x; cat a*; } > -R
echo x > b.txt; cat *.txt
echo x > b.txt && cat a*
echo x > src/b.txt; cat src/*
cat > -R <<< x; grep x *
true > -f & grep x *
for i in 1 2; do cat *.txt; echo x > -s; done
for i in 1 2; do cat a*; echo x > b.txt; done
while true; do grep x *; echo > -R; done
if echo x > -R; then grep x *; fi
(echo x > -R); grep x *
sh -c 'echo x > -R'; grep x *
echo x > -R; sh -c 'grep x *'
"""
WILD_ALONE = """
cat *.txt > all
cat *.txt | sort > all
cat *.txt 2>/dev/null
cat a.txt 2>/dev/null | head; cat *.txt
echo x > b.txt; cat b.txt
ls *; echo x > b.txt
for f in a.txt src; do echo x > b.txt; done
"""


def accepting_edits(line: str, cwd: Path) -> str:
    return Policy("edits").verdict("terminal", Action("execute", line, command=line), cwd).verdict


@pytest.mark.parametrize("line", WILD_AFTER_WRITES.strip().split("\n"))
def test_a_wildcard_that_may_stand_for_what_the_line_itself_makes_is_asked_for(line: str, cwd: Path) -> None:
    assert accepting_edits(line, cwd) == "ask"


@pytest.mark.parametrize("line", WILD_ALONE.strip().split("\n"))
def test_a_wildcard_that_cannot_is_not(line: str, cwd: Path) -> None:
    assert accepting_edits(line, cwd) == "allow"


STEERING_FILES = """
.gitconfig
.bashrc
.BashRC
.bash_profile
.profile
.zshenv
.inputrc
.netrc
.vimrc
.npmrc
.ssh/authorized_keys
.ssh/config
.SSH/rc
.gnupg/gpg.conf
.config/git/config
.config/autostart/x.desktop
.config/systemd/user/x.service
.config/fish/config.fish
.aws/config
.kube/config
.docker/config.json
.cargo/config.toml
.local/bin/ls
.local/share/applications/x.desktop
Library/LaunchAgents/x.plist
sub/folder/.gitconfig
sub/cron.d/x
"""
OTHER_FILES = """
a.txt
bashrc
gitconfig.md
src/config/git.py
ssh/main.go
.gitignore
.github/workflows/ci.yml
.editorconfig
.local/notes.txt
local/bin/x
"""


@pytest.mark.parametrize("name", STEERING_FILES.strip().split("\n"))
def test_a_file_that_makes_other_programs_run_something_is_asked_for(name: str, cwd: Path) -> None:
    path = cwd / name
    action = Action("write", name, (path,))
    assert Policy("edits").verdict("write_file", action, cwd).verdict == "ask"
    assert Policy("edits", [Rule("*", f"{cwd}/*", "allow")]).verdict("write_file", action, cwd).verdict == "ask"
    assert Policy("yolo").verdict("write_file", action, cwd).verdict == "allow"
    assert Policy("edits", [Rule("*", str(path), "allow")]).verdict("write_file", action, cwd).verdict == "allow"
    assert accepting_edits(f"echo x > {name}", cwd) == "ask"


@pytest.mark.parametrize("name", OTHER_FILES.strip().split("\n"))
def test_a_file_with_a_name_like_theirs_is_not(name: str, cwd: Path) -> None:
    assert Policy("edits").verdict("write_file", Action("write", name, (cwd / name,)), cwd).verdict == "allow"


def test_what_the_system_runs_is_asked_for_in_a_workspace_above_it() -> None:
    for name in ("etc/crontab", "etc/ld.so.preload", "var/spool/cron/root", "etc/profile"):
        action = Action("write", name, (Path("/") / name,))
        assert Policy("edits").verdict("write_file", action, Path("/")).verdict == "ask"


def test_the_working_copy_of_a_task_is_not_guarded_where_hermes_lives_among_settings() -> None:
    copy = Path("/home/person/.config/hermes/state/worktrees/bg_1")
    action = Action("write", "a.txt", (copy / "a.txt",))
    assert Policy("edits").verdict("write_file", action, copy).verdict == "allow"


def test_a_line_that_was_answered_for_word_for_word_is_not_asked_for_again(home: Path, cwd: Path) -> None:
    line = 'rm -rf "$BUILD_HERE"/x'
    policy = Policy("ask", [Rule("terminal", line, "allow")], dirs=Directories(home, home / "state", home / "cache"))
    assert policy.verdict("terminal", Action("execute", line, command=line), cwd).verdict == "allow"


PIECES = ["{home}", "$HERMES_HOME", '"$HERMES_HOME"', "${HERMES_HOME}", "$x", '"$y"', "{top}/p*/.config/h*", "$(cat n)"]
ENDS = ["/policy.toml", "/*.toml", "/pol*", "/state/state.db", "", "/", "/../hermes/config.toml", "/./credentials.toml"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["rm -rf", "mv", "cp a.txt", "tee", "ln -sf a.txt", "sed -i s/a/b/", "chmod -R 777", "tar -C"]),
    st.sampled_from(PIECES),
    st.sampled_from(ENDS),
    st.sampled_from(["{}", "ls; {}", "env {}", "for i in 1; do {}; done", "sh -c '{}'", "if true; then {}; fi"]),
)
def test_no_spelling_of_its_own_folder_gets_past_a_rule(
    home: Path, cwd: Path, program: str, piece: str, end: str, around: str
) -> None:
    line = f"x={home}; y=$x; " + around.replace("{}", f"{program} {piece}{end} x")
    assert os.environ["HERMES_HOME"] == str(home)
    assert verdict(line, home, cwd) != "allow", line
