"""The commands that only read, as data: for each the options that are known to be harmless. There are no others.

An option stands here only when GNU and BSD agree on whether it takes a value, or when it does no harm where they do
not. Left out on purpose are those that write (`sort -o`), run something (`rg --pre`), read what a list names
(`wc --files0-from`, `md5sum -c`), follow links while they walk (`ls -L`, `grep -R`) or never end (`tail -f`).
"""

import re
from dataclasses import dataclass
from typing import Literal

Operands = Literal["paths", "words", "pattern", "format", "revisions", "none"]
"""What stands beside the options: paths; any words; a pattern and then paths; a date's `+format`; what git calls
revisions, where only a word that looks like a way out counts as a path; nothing."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The harmless options of one command.

    `flags` take no value, but a long one may have it after `=`; `texts` take any text, `files` a path. Names are whole:
    a long name that is cut short is not known. `instead` names the options that take the pattern's place, so that
    every operand is a path. With `walks` it reads the working directory when no path is given.
    """

    flags: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    operands: Operands = "paths"
    most: int = 1_000
    walks: bool = False
    directories: bool = True
    instead: frozenset[str] = frozenset()


def _reader(
    letters: str = "",
    longs: str = "",
    texts: str = "",
    files: str = "",
    *,
    operands: Operands = "paths",
    most: int = 1_000,
    walks: bool = False,
    directories: bool = True,
    instead: str = "",
) -> Reader:
    flags = [f"-{letter}" for letter in letters] + [f"--{name}" for name in longs.split()]
    return Reader(
        frozenset(flags),
        frozenset(texts.split()),
        frozenset(files.split()),
        operands,
        most,
        walks,
        directories,
        frozenset(instead.split()),
    )


_DIGITS = "0123456789"

_GREP = _reader(
    f"rnilLcvwxoEFGPHhsqaIybC{_DIGITS}",
    "recursive line-number ignore-case no-ignore-case files-with-matches files-without-match count invert-match "
    "word-regexp line-regexp only-matching extended-regexp fixed-strings basic-regexp perl-regexp with-filename "
    "no-filename no-messages quiet silent text byte-offset color colour context",
    # Whether `-C` takes the next word depends on the system: as a flag it leaves one word more that must be a path.
    "-e -m -A -B --regexp --max-count --after-context --before-context --include --exclude --exclude-dir",
    "-f --file",
    operands="pattern",
    walks=True,
    instead="-e -f --regexp --file",
)
_SUMS = _reader("btz", "binary text tag zero")

READERS: dict[str, Reader] = {
    "basename": _reader("az", "multiple zero", "-s --suffix", operands="words"),
    "cat": _reader("AbeEnstTuv", "show-all number-nonblank show-ends number squeeze-blank show-tabs show-nonprinting"),
    "cmp": _reader("ls", "verbose silent quiet"),
    "cut": _reader("sn", "only-delimited complement", "-d -f -c -b --delimiter --fields --characters --bytes"),
    "date": _reader("uR", "utc universal rfc-email iso-8601", "--date", operands="format"),
    "df": _reader("hkmialPHT", "human-readable inodes all local portability si print-type total"),
    "diff": _reader(
        "uqwbBisyatcepE",
        "unified brief ignore-all-space ignore-space-change ignore-blank-lines ignore-case report-identical-files "
        "side-by-side text expand-tabs context ed show-c-function color suppress-common-lines strip-trailing-cr",
        "-U -C -W --label --width",
        directories=False,
    ),
    "dirname": _reader("z", "zero", operands="words"),
    "du": _reader(
        "shackmbx",
        "summarize human-readable all total apparent-size bytes one-file-system",
        "-d --max-depth --exclude --threshold",
        walks=True,
    ),
    "egrep": _GREP,
    "false": _reader(operands="none"),
    "fgrep": _GREP,
    "file": _reader("biIh", "brief mime mime-type mime-encoding no-dereference"),
    "grep": _GREP,
    "head": _reader(f"qv{_DIGITS}", "quiet silent verbose", "-n -c --lines --bytes"),
    "id": _reader("ugGnr", "user group groups name real", operands="words"),
    "ls": _reader(
        "laA1RhtrSsFdiopGgnmxCcuqQBkfUX",
        "all almost-all recursive human-readable reverse size classify directory inode color full-time sort time "
        "time-style group-directories-first numeric-uid-gid no-group file-type format indicator-style",
        walks=True,
    ),
    "md5sum": _SUMS,
    "nl": _reader("p", "no-renumber", "-b -i -n -s -v -w --body-numbering --number-format --number-width"),
    "pwd": _reader("LP", "logical physical", operands="none"),
    "readlink": _reader("femnv", "canonicalize canonicalize-existing canonicalize-missing no-newline"),
    "realpath": _reader("emqs", "canonicalize-existing canonicalize-missing quiet strip no-symlinks"),
    "rg": _reader(
        "niSswxvcloFPUNHIaqup0.",
        "files hidden no-hidden no-ignore no-ignore-vcs line-number no-line-number heading no-heading ignore-case "
        "smart-case case-sensitive fixed-strings word-regexp line-regexp count count-matches files-with-matches "
        "files-without-match only-matching invert-match multiline multiline-dotall pcre2 json stats trim vimgrep "
        "column with-filename no-filename null quiet text type-list unrestricted no-messages pretty passthru no-config",
        "-e -g -t -T -A -B -C -m -M -j -r -d --regexp --glob --iglob --type --type-not --after-context "
        "--before-context --context --max-count --max-columns --threads --replace --max-depth --color --colors --sort "
        "--sortr --max-filesize --engine --encoding -E",
        operands="pattern",
        walks=True,
        instead="-e --regexp --files --type-list",
    ),
    "seq": _reader(f"w{_DIGITS}", "equal-width", "-s -f --separator --format", operands="words"),
    "sha256sum": _SUMS,
    "sleep": _reader(operands="words"),
    "sort": _reader(
        "nrufhVbdgiMRszcCm",
        "numeric-sort reverse unique ignore-case human-numeric-sort version-sort ignore-leading-blanks "
        "dictionary-order general-numeric-sort month-sort stable zero-terminated check merge",
        "-k -t --key --field-separator",
    ),
    "stat": _reader("tfx", "terse file-system", "-c --format --printf"),
    "tail": _reader(f"qvr{_DIGITS}", "quiet silent verbose", "-n -c --lines --bytes"),
    "tr": _reader("dscCtu", "delete squeeze-repeats complement truncate-set1", operands="words"),
    "true": _reader(operands="none"),
    "uname": _reader("asnrvmpio", "all kernel-name nodename kernel-release machine", operands="none"),
    "uniq": _reader(
        "cduiz",
        "count repeated unique ignore-case zero-terminated",
        "-f -s -w --skip-fields --skip-chars --check-chars",
        most=1,  # The second is written.
    ),
    "wc": _reader("lwcmL", "lines words bytes chars max-line-length"),
    "which": _reader("a", "all"),
    "whoami": _reader(operands="none"),
}
"""`echo`, `printf` and `find` have no options of the usual kind, and are looked at by themselves."""

PRINTF = re.compile(r"(?:[^%\\]|%%|%-?\d{0,4}(?:\.\d{1,4})?[sbqc]|\\[nt\\])*")
"""The formats of `printf` that only print. Bash's `%n` sets a variable (PATH, say); others calculate what `%d` gets."""

FIND_FLAGS = frozenset(
    "( ) ! , -a -and -o -or -not -print -print0 -ls -prune -quit -empty -depth -mount -xdev -readable -writable "
    "-executable -true -false -daystart".split()
)
FIND_TEXTS = frozenset(
    "-name -iname -path -ipath -wholename -iwholename -regex -iregex -regextype -type -maxdepth -mindepth -size -mtime "
    "-mmin -atime -amin -ctime -cmin -newermt -perm -user -group -uid -gid -links -inum -printf".split()
)
FIND_FILES = frozenset({"-newer", "-anewer", "-cnewer", "-samefile"})

for _name in "sha1sum sha224sum sha384sum sha512sum b2sum cksum sum".split():
    READERS[_name] = _SUMS
READERS |= {
    "arch": _reader(operands="none"),
    "base64": _reader("d", "decode", "-w --wrap", most=1),
    "cal": _reader("13jmy", operands="words"),
    "column": _reader("tx", "table", "-s -c -o --separator --output-separator"),
    "comm": _reader("123z", "total"),
    "expand": _reader("i", "initial", "-t --tabs"),
    "expr": _reader(operands="words"),
    "fmt": _reader("csu", "", "-w --width"),
    "fold": _reader("bs", "bytes spaces", "-w --width"),
    "free": _reader("bkmghtw", "human", operands="none"),
    "getconf": _reader(operands="words"),
    "groups": _reader(operands="words"),
    "hexdump": _reader("Cbcdovx", "", "-n -s"),
    "hostname": _reader("fis", operands="none"),
    "join": _reader("i", "ignore-case", "-1 -2 -j -t -o -a -v"),
    "lsblk": _reader("aflnp", operands="none"),
    "locale": _reader("a", operands="none"),
    "lscpu": _reader(operands="none"),
    "nproc": _reader("", "all", operands="none"),
    "od": _reader("abcdovx", "", "-A -t -N -j -w"),
    "paste": _reader("sz", "serial", "-d --delimiters"),
    "printenv": _reader("0", operands="words"),
    "ps": _reader("aefluxAjTwcH", "forest", "-o -p -u -C --sort", operands="words"),
    "pgrep": _reader("aflnx", "list-full", "-u -P", operands="words"),
    "rev": _reader(),
    "shuf": _reader("ez", "", "-n -i --head-count", most=1),
    "strings": _reader("a", "", "-n -t"),
    "tac": _reader(),
    "tree": _reader("adfhpsugDFCr", "dirsfirst noreport gitignore", "-L -I -P", walks=True),
    "tty": _reader("s", operands="none"),
    "type": _reader("aptP", operands="words"),
    "unexpand": _reader("a", "", "-t"),
    "uptime": _reader("ps", operands="none"),
    "vmstat": _reader(operands="none"),
    "xxd": _reader("bpu", "", "-l -s -c -g", most=1),
    "zcat": _reader(),
}

JQ = _reader("rcensSCMajR", "tab raw-output compact-output sort-keys slurp null-input", "--indent", operands="pattern")
SED = _reader("nErsuz", "quiet silent regexp-extended separate null-data", "-e --expression", operands="pattern")
AWK = _reader(texts="-F -v", operands="pattern")

SCRIPTED = frozenset("sed awk gawk mawk nawk jq".split())
"""Their first word is a script."""

OBEY_NOTHING = frozenset(
    "b2sum cat cksum cmp comm cut df diff dirname basename du egrep expand fgrep file fmt fold grep head jq join ls "
    "md5sum nl od paste readlink realpath rev sha1sum sha224sum sha256sum sha384sum sha512sum stat sum tac tail "
    "unexpand wc which".split()
)
"""Those with no option at all that runs a program or writes a file, but for a `.mgc` of `file`."""

ALWAYS_HARMLESS = frozenset("echo true false : break continue exit return pwd basename dirname".split())
"""They do no harm with any words, also with those that are known only when they run."""

SET_OPTIONS = re.compile(r"[-+][euxfo]+|pipefail|errexit|nounset|xtrace")
"""What `set` may be given: it changes how the rest of the line fails, not what it does."""

TELL_THEIR_VERSION: dict[str, frozenset[str]] = {
    name: frozenset({"--version"})
    for name in (
        "awk bash black clang cmake curl deno docker g++ gcc gem gh git helm java jq make mypy node nvim perl php pip "
        "pip3 podman psql python python3 rg ruby ruff sqlite3 tar tmux tsc uv vim wget".split()
    )
}
"""The words that make a program tell its version and nothing else, before it reads anything of the folder.

Left out are those that first look there for which version of themselves to run, with what options, or for plugins:
cargo and rustc, go, npm, yarn and pnpm, mvn and gradle, dotnet, poetry, pytest, composer, swift, terraform.
"""
for _names, _word in (
    ("curl deno jq mypy pip pip3 psql python python3 rg ruff tmux uv wget", "-V"),
    ("node perl php ruby docker", "-v"),
    ("docker gh helm podman", "version"),  # To a language, `version` is the name of a script.
    ("java", "-version"),
):
    for _name in _names.split():
        TELL_THEIR_VERSION[_name] |= {_word}

_PS_COLUMN = (
    "(?:[pgst]?pid|[er]?user|uid|[rev]?group|gid|comm|args|cmd|command|ucmd|stat|state|s|[el]?start|start_time|etimes?|"
    "time|cputime|[pc]?cpu|%cpu|[p%]?mem|rss|rssize|vsz|vsize|sz|tty|tt|tname|ni|nice|pri|psr|nlwp|wchan)"
)
PS_COLUMNS = re.compile(rf"{_PS_COLUMN}=?(?:,{_PS_COLUMN}=?)*")
"""What `ps -o` may be asked for: there is a column with the variables of a program."""

GIT_ASKED_SETTING = re.compile(r"(?:user|remote|branch|core|init|pull|push|merge)\.[\w./-]+")
"""What `git config` may be asked for: settings that hold no secret."""


def _sed_text(end: str) -> str:
    """An expression, or what is put in its place, that every sed ends at the same `end`.

    Some take a delimiter between brackets for a plain character, and some do not: there is none between them, nor
    anything else that would leave open where they close.
    """
    end = re.escape(end)
    named = "" if end == ":" else r"|\[:[a-z]+:\]"
    return rf"(?:[^{end}\\\[\n]|\\[^\n]|\[\^?(?:[^{end}\\\[\]^\n]|\\[tnrswSW.]{named})+\])*{end}"


# Only a line of which every part is known not to write, call or read anything else.
_SED_ADDRESS = rf"(?:\d+|\$|/{_sed_text('/')})"
_SED_PATTERNS = "|".join(rf"s{re.escape(end)}{_sed_text(end) * 2}[gpIi0-9]*" for end in "/|#,@!:_")
_SED_COMMAND = rf"(?:{_SED_ADDRESS}(?:,(?:{_SED_ADDRESS}|\+\d+))?[ \t]*!?[ \t]*)?(?:[pdqlnxDGHNPgh=]|{_SED_PATTERNS})"
SED_SCRIPT = re.compile(rf"\s*{_SED_COMMAND}(?:[ \t]*[;\n]\s*{_SED_COMMAND})*[ \t]*;?\s*", re.ASCII)
AWK_DANGER = re.compile(
    r"(?<!\|)(?:\|\|)*\|(?!\|)|[>@`]|system|getline|ARG|ENVIRON|SYMTAB|FUNCTAB|PROCINFO|close|load|include|extension|\\\n"
)
JQ_DANGER = re.compile(r"\b(?:import|include|modulemeta|input_filename|get_search_list)\b")

_LOG = (
    "oneline graph all decorate no-decorate stat shortstat numstat name-only name-status no-merges merges patch "
    "no-patch summary reverse abbrev-commit full-history first-parent date-order topo-order follow raw check cached "
    "staged no-color color word-diff ignore-all-space ignore-space-change ignore-space-at-eol relative-date "
    "show-signature left-right cherry-pick no-renames find-renames minimal patience histogram ignore-blank-lines "
    "no-ext-diff function-context unified pretty format date abbrev branches tags remotes quiet dirstat "
    "compact-summary exit-code diff-filter merge-base boundary root tree full-index no-textconv no-prefix text binary "
    "since until after before author committer grep max-count skip"
)
_HISTORY = _reader(
    "pswbzquciatEPRM0123456789", _LOG, "-n -S -G -L -U --since --until --after --before --author --committer --grep "
    "--max-count --skip --format --pretty --date --diff-filter --abbrev --unified --word-diff-regex",
    operands="revisions",
)  # fmt: skip
GIT: dict[str, Reader] = {
    "log": _HISTORY, "show": _HISTORY, "diff": _HISTORY, "whatchanged": _HISTORY,
    "diff-tree": _HISTORY,
    "rev-list": _reader("n", f"{_LOG} count objects", "-n --max-count --since", operands="revisions"),
    "status": _reader("sbuzv", "short branch porcelain long show-stash untracked-files ignored verbose", walks=True),
    "branch": _reader(
        "arvl", "all remotes list verbose show-current merged no-merged color no-color",
        "--contains --sort --format --points-at", operands="none",
    ),
    "tag": _reader("ln0123456789", "list sort", "--sort --format --contains --points-at", operands="none"),
    "remote": _reader("v", "verbose", operands="none"),
    "rev-parse": _reader(
        "q", "short abbrev-ref show-toplevel git-dir is-inside-work-tree verify symbolic-full-name show-prefix quiet "
        "git-common-dir all branches tags is-bare-repository absolute-git-dir symbolic", operands="revisions",
    ),
    "ls-files": _reader(
        "cdmostuzk", "cached deleted modified others stage unmerged exclude-standard full-name error-unmatch",
        "-x --exclude", walks=True,
    ),
    "ls-tree": _reader("rtdlz", "name-only full-name long", operands="revisions"),
    "cat-file": _reader("ptse", operands="revisions"),
    "blame": _reader("wlsecMCtf", "line-porcelain porcelain show-email", "-L --since --date", operands="revisions"),
    "annotate": _reader("l", "", "-L", operands="revisions"),
    "shortlog": _reader("sneca", "summary numbered email all no-merges", "--since --until", operands="revisions"),
    "describe": _reader("", "tags all always dirty long abbrev contains", "--match", operands="revisions"),
    "name-rev": _reader("", "name-only tags always", operands="revisions"),
    "merge-base": _reader("a", "all is-ancestor fork-point", operands="revisions"),
    "show-ref": _reader("sdqh", "heads tags verify hash head", operands="revisions"),
    "show-branch": _reader("a", "all list", operands="revisions"),
    "for-each-ref": _reader("", "", "--format --sort --count --points-at --contains", operands="revisions"),
    "count-objects": _reader("vH", "verbose human-readable", operands="none"),
    "version": _reader("", "build-options", operands="none"),
    "check-ignore": _reader("vnq", "verbose non-matching quiet no-index"),
    "grep": _reader(
        "niwlLcvEFPGhHpWqIoaz0123456789", "line-number ignore-case word-regexp files-with-matches count invert-match "
        "extended-regexp fixed-strings perl-regexp show-function function-context heading break cached name-only "
        "untracked only-matching all-match and or not", "-e -A -B -C -m --max-depth",
        operands="revisions",
    ),
}  # fmt: skip
"""What git is asked and only tells. Left out: `-c`, `--ext-diff`, `--textconv`, `--output`, `--no-index`, `-O`."""

GIT_TWO_WORDS = frozenset(
    {("stash", "list"), ("stash", "show"), ("worktree", "list"), ("remote", "get-url"), ("bisect", "log"),
     ("notes", "list"), ("notes", "show"), ("reflog", "show")}
)  # fmt: skip
"""Sub-commands that only tell when their own first word is this one, and no option follows."""
