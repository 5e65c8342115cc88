"""The commands that only read, as data: for each the options that are known to be harmless. There are no others.

An option stands here only when GNU and BSD agree on whether it takes a value, or when it does no harm where they do
not. Left out on purpose are those that write (`sort -o`), run something (`rg --pre`), read what a list names
(`wc --files0-from`, `md5sum -c`), follow links while they walk (`ls -L`, `grep -R`) or never end (`tail -f`).
"""

import re
from dataclasses import dataclass
from typing import Literal

Operands = Literal["paths", "words", "pattern", "format", "none"]
"""What stands beside the options: paths; any words; a pattern and then paths; a date's `+format`; nothing."""


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
