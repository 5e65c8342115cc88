"""Which shell commands run unasked: those that plainly only read, and nothing a person could be tricked with."""

from pathlib import Path

import pytest

from agent.shell import matches, may_match, only_reads, paths_read, rule_pattern

PLAIN = r"""
ls
ls -la
ls -la src
ls -R -1 --color=never
cat a.txt
cat a.txt src/b.txt
cat 'a b.txt'
cat "a b.txt"
cat -- a.txt
head -n 5 a.txt
head -n5 a.txt
tail -c 100 a.txt
wc -l a.txt
wc --lines a.txt src/b.txt
grep -rn pattern src
grep -e one -e two a.txt
grep --include=x -r pattern .
rg -n pattern src
find . -name a.txt
find src -type f -newer a.txt
sort a.txt
sort -k 2 -n a.txt
sort -u a.txt | head -n 3
sort -rn -t, -k2 a.txt
cut -d ' ' -f 1 a.txt
head -20 a.txt
head -n -5 a.txt
tail -5 a.txt
tail -n +2 a.txt
grep -rn "a b" src
grep -n 'f(x) | $y; rm' a.txt
grep -rniE '^(a|b)+$' src --include '*.txt'
grep -c -e 'a*' -- a.txt
grep -C3 x a.txt
grep -C 3 x a.txt
grep /api/v1 a.txt
grep -rn /api/v1 src
egrep -rn 'a|b' src
fgrep -n a.b a.txt
rg x
rg -n 'x y' src -g '*.txt'
rg --files
rg --files -g '*.py' src
rg -e one -e two
rg --type py x
rg -- -x src
find
find . -name '*.py' -type f -maxdepth 2
find . -name "*.[ch]" -size +10k -mtime -7
find src names -type f '!' -name '*.txt' -print0
find . '(' -name a -o -name b ')' -prune
find . -printf '%p\n'
du -sh .
du -sh src --max-depth=1
du -ah -d 1
uniq a.txt
uniq -c a.txt
sort a.txt | uniq -c | sort -rn | head -n 3
diff -u a.txt 'a b.txt'
diff -U 3 a.txt names
stat -c '%s %n' a.txt
echo hi
echo -n "it's *fine* [now]?"
echo hi ";" ls
echo 'a && b' && ls
printf '%s\n' a b
printf '%-10s|%s' a b
md5sum a.txt names
sleep 5
basename /etc/passwd
tr -d '\n'
cat 'naïve*.txt'
ls src -la
date --date=yesterday +%F
date +'%F %T'
cut -d, -f1 a.txt
diff a.txt src/b.txt
diff -u a.txt src/b.txt
du -sh src
df -h
stat a.txt
file a.txt
date
date -u
date +%Y-%m-%d
date --utc +%s
pwd
whoami
uname -a
echo hello world
echo 'one; two'
printf done
which python3
true
sleep 1
seq 1 10
md5sum a.txt
sha256sum a.txt
cat a.txt | wc -l
cat a.txt && ls
cat a.txt || true
ls; pwd
nl a.txt | tr a-z A-Z
realpath a.txt
basename src/b.txt
"""

ASKED = r"""
find -- . -delete
find -- . -maxdepth 0 -fprint out x
find -- . -fprintf .git/hooks/x y
find . ";" echo -delete
find . -name a ";" -delete
find . -name -delete
find . -type f /etc
find -f /etc .
find -H . -name x
find -P . -name x
find . -D exec
find . -files0-from names
find . -newer /etc/passwd
find . -samefile ../secret
find . -printf
sort --random-source -- -o/tmp/outside a.txt
sort --random-source=/etc/passwd -R a.txt
sort -k -- -oout a.txt
sort -t -- -oout a.txt
sort a.txt -o b.txt
sort --unknown a.txt
sort -S 1 a.txt
sort --parallel=2 a.txt
sort --batch-size=2 a.txt
sort --debug a.txt
sort "|" cat -o out
rg -e -- --pre ./evil .
rg -e -- --pre=./evil x .
rg --pre=./evil x
rg --pr ./evil x
rg --hostname-bin ./evil x
rg -nz pattern
rg -nL pattern
rg --search-zip x
rg --follow x
rg -f /etc/passwd
rg --file=/etc/passwd x
rg --ignore-file /etc/passwd x
rg x /etc
rg --files /etc
rg -e x /etc
rg --type-list /etc
printf -v PATH bin && ls
printf %n PATH && ls
printf '%s%n' a PATH && ls
printf '\x25n' PATH
printf '%(%F)T'
printf '%*d' 1 2
printf %d 'a[$(id)]'
printf -- x
printf
ls -LR
ls -L
ls -LR .
ls -H src
ls --dereference
ls --hyperlink=x
egrep -R root .
fgrep -R root .
egrep -r root link-outside
grep -rR x .
grep --dereference-rec x .
grep -C 3 /etc/passwd x
grep --context 3 /etc/passwd x
grep -e x /etc/passwd
grep --regexp=x ../secret
grep x -e /etc/passwd a.txt
grep -e -- -f/etc/passwd a.txt
grep -f names /etc/passwd
grep -d recurse x src
grep -S x .
grep -z x a.txt
diff src src
diff src a.txt
diff a.txt src
diff -u . src
diff -l a.txt names
diff --from-file=/etc/passwd a.txt
diff -X /etc/passwd a.txt names
md5sum -c names
md5sum --check names
sha256sum -c names
sha256sum -bc names
file -p a.txt
file -z a.txt
file -bz a.txt
file -m /etc/magic a.txt
file -S a.txt
uniq a.txt out
uniq a.txt -c
uniq -c a.txt out
uniq - out
uniq -f 1 a.txt out
cat loop/x
cat a.txt/x
cat a.txt loop
head -n 5 -- /etc/passwd
head --lines
cat --show-nonsense a.txt
cat a.txt -x
cat -l a.txt
cat -- -x a.txt
tail -f a.txt
tail -F a.txt
tail --pid=1 a.txt
tail --follow=name a.txt
du -D link-outside
du -L .
du -X /etc/passwd
du link-outside
wc -l ../secret
stat /etc/passwd
date -f names
date -r /etc/passwd
date --file=names
date -d tomorrow
pwd x
uname x
cat "$HOME"
cat "a`id`"
cat "a\x"
cat 'a' "$(id)"
cat a.txt^b
ls café
"cat" /etc/passwd
'printf' -v x y
ls ";" "
ls;;ls
ls && && ls
ls |
&& ls
rm a.txt
rm -rf /
./ls
/bin/ls
python3 a.py
git status
make
curl https://example.org
cat /etc/passwd
cat ../secret
cat src/../../secret
cat ~/.ssh/id_rsa
cat ~root/x
cat link-outside
cat link-outside/x
cat loop
ls /
ls ..
head -n 5 /etc/passwd
grep -f/etc/passwd a.txt
grep -rf/etc/passwd a.txt
grep --file=/etc/passwd a.txt
grep -R pattern .
rg --pre ./run.sh pattern
rg -z pattern
rg -L pattern
find . -exec rm {} ;
find . -exec rm '{}' +
find . -execdir id +
find . -ok id +
find . -delete
find . -fprint out
find . -fprintf out x
find . -fls out
find -L . -name x
find . -follow -name x
find / -name x
sort -o a.txt a.txt
sort -oa.txt a.txt
sort -uo a.txt a.txt
sort --output=a.txt a.txt
sort --out a.txt a.txt
sort --compress-program=./run.sh a.txt
sort --comp ./run.sh a.txt
sort -T src a.txt
sort --files0-from=names
sort --files0 names
wc --files0-from=names
du --files0-from=names
file -f names
file -C -m a.txt
date -s tomorrow
date --set=tomorrow
date --se tomorrow
date 010203042026
diff -r src src
diff --recursive src src
env
env rm a.txt
env cat a.txt
FOO=1 cat a.txt
PATH=. ls
sudo cat a.txt
xargs rm
ls | xargs rm
ls | sh
ls; rm a.txt
ls && rm a.txt
ls || rm a.txt
ls & rm a.txt
ls &
ls |& cat
ls;
| ls
ls ;; ls
ls ||| cat
cat a.txt > b.txt
cat a.txt >> b.txt
cat < a.txt
cat <<x
cat <(ls)
ls 2>&1
echo $(rm a.txt)
echo `rm a.txt`
echo $HOME
echo ${HOME}
echo "$(rm a.txt)"
(ls)
{ ls; }
! ls
ls *
ls a?txt
ls [a]*
ls {a,b}
ls # rm
cat a\ b
cat 'a
cat "a
'ls
c'a't /etc/passwd
l""s /
"" ls
time ls
eval ls
exec ls
command ls
nohup ls
. ./x
source x
cd / && cat etc/passwd
cd src
tee a.txt
dd if=a.txt
sed -n 1p a.txt
sed -i s/a/b/ a.txt
awk 1 a.txt
less a.txt
vi a.txt
tar cf x.tar .
cp a.txt b.txt
mv a.txt b.txt
mkdir x
touch x
kill 1
"""

UNSEEN = {
    "a new line": "ls\nrm a.txt",
    "a carriage return": "ls\rrm a.txt",
    "a tab": "ls\trm",
    "a no-break space": "cat\u00a0a.txt",
    "an ideographic space": "ls\u3000/",
    "a zero-width space": "l\u200bs",
    "a right-to-left mark": "cat a.txt\u202e txt.a",
    "a NUL": "cat a.txt\0/etc/passwd",
    "an escape sequence": "ls \x1b[2J",
    "a line separator": "ls\u2028rm a.txt",
    "nothing": "",
    "spaces": "   ",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with files, a link that leads out, one that leads nowhere, and one named like an option."""
    inside = tmp_path / "work"
    (inside / "src").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    for name in ("a.txt", "a b.txt", "src/b.txt", "names"):
        (inside / name).write_text("text\n")
    (inside / "link-outside").symlink_to(tmp_path)
    (inside / "loop").symlink_to("loop")
    (inside / "-x").symlink_to(tmp_path / "secret")
    return inside


@pytest.mark.parametrize("command", PLAIN.strip().split("\n"))
def test_a_command_that_plainly_only_reads_runs_unasked(command: str, folder: Path) -> None:
    assert only_reads(command, folder)


@pytest.mark.parametrize("command", ASKED.strip().split("\n"))
def test_any_other_command_is_asked_for(command: str, folder: Path) -> None:
    assert not only_reads(command, folder)


@pytest.mark.parametrize("command", UNSEEN.values(), ids=UNSEEN)
def test_a_command_with_characters_nobody_sees_is_asked_for(command: str, folder: Path) -> None:
    assert not only_reads(command, folder)


def test_a_file_named_like_an_option_is_looked_at_as_a_file(folder: Path) -> None:
    assert not only_reads("cat -- -x", folder)


def test_a_working_directory_that_is_itself_a_link_counts_as_where_it_leads(folder: Path) -> None:
    alias = folder.parent / "alias"
    alias.symlink_to(folder)
    assert only_reads("cat a.txt", alias)
    assert not only_reads("cat ../secret", alias)


SOMETHING_TO_RUN = """
python3.11 python3.13t node20 pip pip3 cargo go vim nvim tar make npm npx git ssh rsync find xargs env gdb java mvn
gradle bundle rake perl5 ruby3.2 docker kubectl curl wget cat tee cp sed awk
"""


# -- standing answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("pytest -q tests", "pytest *"),
        ("mypy", "mypy *"),
        ("ruff check 'a b'", "ruff *"),
        ("ls", "ls"),
        ("./run.sh fast", "./run.sh fast"),
        ("./pytest -q", "./pytest -q"),
        *((f"{program} x", f"{program} x") for program in SOMETHING_TO_RUN.split()),
        ("git push", "git push"),
        ("/usr/bin/git push", "/usr/bin/git push"),
        ("python3 a.py", "python3 a.py"),
        ("sudo ls", "sudo ls"),
        ("rm x", "rm x"),
        ("pytest && rm x", "pytest && rm x"),
        ("pytest | tee log", "pytest | tee log"),
        ("pytest > log", "pytest > log"),
        ("A=1 pytest", "A=1 pytest"),
        ("echo $HOME", "echo $HOME"),
        ("'' ls", "'' ls"),
        ("'git push' x", "'git push' x"),
    ],
)
def test_always_covers_a_program_or_where_that_is_too_much_this_line_only(command: str, pattern: str) -> None:
    assert rule_pattern(command) == pattern
    assert matches(pattern, command)


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("pytest *", "pytest"),
        ("pytest *", "pytest -q 'a b'"),
        ("git log *", "git log -1"),
        ("echo $HOME", "echo $HOME"),
    ],
)
def test_a_rule_covers_a_plain_line_that_begins_so(pattern: str, command: str) -> None:
    assert matches(pattern, command)


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("pytest *", "pytester"),
        ("pytest *", "pytest; rm x"),
        ("pytest *", "pytest && rm x"),
        ("pytest *", "pytest $(rm x)"),
        ("pytest *", "pytest `rm x`"),
        ("pytest *", "pytest > ~/.bashrc"),
        ("pytest *", "pytest\nrm x"),
        ("pytest *", "A=1 pytest"),
        ("pytest *", "rm x"),
        ("git log *", "git push"),
        ("git log", "git log -1"),
        ("pytest", "pytest -q"),
        (" *", "rm x"),
        ("*", "rm x"),
        ("", "rm x"),
    ],
)
def test_a_rule_covers_nothing_else(pattern: str, command: str) -> None:
    assert not matches(pattern, command)


# -- standing refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "cat a",
        "cat",
        "cat a | head",
        "head a; cat b",
        "head a && cat b",
        "'cat' a",
        "c'a't a",
        "/bin/cat a",
        "X=1 cat a",
        "ls ';' ; cat a",
    ],
)
def test_what_forbids_a_command_forbids_it_anywhere_in_a_line(command: str) -> None:
    assert may_match("cat *", command) is True


@pytest.mark.parametrize(
    "command",
    ["cat $x", "$(cat a)", "cat a > b", "xargs cat", "env cat a", "sh -c 'cat a'", "find . -exec cat a ';'", "c\\at a"],
)
def test_of_a_line_that_is_not_understood_nobody_can_say_that_it_is_not_forbidden(command: str) -> None:
    assert may_match("cat *", command) is None


@pytest.mark.parametrize("command", ["head a", "head cat", "echo 'x; cat a'", "find . -name cat", "concat a"])
def test_other_commands_are_not_forbidden(command: str) -> None:
    assert may_match("cat *", command) is False


def test_a_forbidden_line_is_forbidden_between_others() -> None:
    assert may_match("git push", "git add a; git push") is True
    assert may_match("git push", "git push origin") is False
    assert may_match("make | tee log", "make | tee log") is True
    assert may_match("make | tee log", "make > log") is False
    assert may_match("*", "anything $(at all)") is True


def test_what_a_line_reads_is_known(folder: Path) -> None:
    assert paths_read("cat a.txt | head -n 3 src/b.txt", folder) == {folder / "a.txt", folder / "src/b.txt"}
    assert paths_read("ls", folder) == {folder}
    assert paths_read("grep -rn x", folder) == {folder}
    assert paths_read("echo a.txt; date", folder) == frozenset()
    assert paths_read("make", folder) is None
