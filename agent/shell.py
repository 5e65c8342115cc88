"""A command line taken apart: every command that it would run, with what is known of its words.

tree-sitter-bash gives the structure. Its grammar is more generous than Bash, so nothing is believed of a tree that the
text does not bear out: each word, operator and blank is looked at again, and whatever could mean something else to Bash
makes the line one that is not understood. Such a line is asked for; the commands found in it still count against it.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.wrappers import inner_commands

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

LONGEST = 20_000
"""Characters of a line that is looked at; a longer one is not understood."""
_DEPTH = 6
"""How many shells within shells (`sh -c`) are followed."""
_MOST_TURNS = 40
"""Values of a loop's variable that are followed one by one."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command, quotes taken away.

    "text" is what the program gets, "glob" stands for names of files, "open" is known only when it runs; the
    text of an open word is as it was written. `quoted` is one that is nothing but an expansion in quotes: it stays one
    word, whatever comes of it.
    """

    text: str
    kind: Literal["text", "glob", "open"] = "text"
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command. `reads` and `writes` are the files it is connected to, `via` the program that runs it."""

    words: tuple[Word, ...]
    assigned: tuple[tuple[str, Word], ...] = ()
    reads: tuple[Word, ...] = ()
    writes: tuple[Word, ...] = ()
    via: str = ""
    sure: bool = True
    """False when it stands in a loop, where it also runs after what comes later in the text."""

    @property
    def name(self) -> str:
        return self.words[0].text if self.words else ""

    @property
    def argv(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class Line:
    """What a line would run. `doubt` says why that may not be all; "" when it is all."""

    commands: tuple[Command, ...]
    doubt: str = ""

    @property
    def understood(self) -> bool:
        return not self.doubt


def parse(command: str) -> Line:
    """Take a line apart. Never raises: what cannot be read is a doubt."""
    return _kept(command, os.environ.get("HOME", ""))


@lru_cache(256)
def _kept(command: str, home: str) -> Line:
    del home  # `~` is put in, so a line is the same only for the same home.
    return _parse(command, _DEPTH)


def _parse(command: str, depth: int) -> Line:
    if sys.platform == "win32":
        return Line((), "it is for another shell than Bash")
    if len(command) > LONGEST:
        return Line((), "it is too long to be looked at")
    hidden = next((char for char in command if not char.isprintable() and char not in "\n\t"), "")
    if hidden:
        return Line((), f"it holds a character that is not seen (U+{ord(hidden):04X})")
    try:
        source = command.encode()
    except UnicodeEncodeError:
        return Line((), "it is not valid text")
    reader = _Reader(source)
    reader.visit(_parser().parse(source).root_node)
    found, doubt = list(reader.commands), reader.doubt
    if not found and not doubt:
        doubt = "there is no command in it"
    for outer in tuple(found):
        inner = _unwrap(outer, depth)
        found += inner.commands
        doubt = doubt or inner.doubt
    return Line(tuple(found), doubt)


def _unwrap(outer: Command, depth: int) -> Line:
    """The commands that a command is given to run: of `env`, `xargs`, `find -exec`, `sh -c` and their like."""
    found: list[Command] = []
    doubt = ""
    for kind, words in inner_commands(outer.words):
        if kind == "unknown":
            doubt = doubt or f"what {outer.name} would run is not known"
        if depth == 0:
            return Line(tuple(found), "it has too many shells in one another")
        if kind == "script":
            known = words[0].kind == "text"
            script = _parse(words[0].text, depth - 1) if known else Line((), "a script is put together")
            found += (replace(inner, via=inner.via or outer.name) for inner in script.commands)
            doubt = doubt or script.doubt
        elif words:
            inner = Command(tuple(words), via=outer.name, sure=False)
            if words[0].kind != "text" or words[0].text in {*_RESERVED, "!"} or "=" in words[0].text:
                doubt = doubt or f"what {outer.name} would run is known only when it runs"
            further = _unwrap(inner, depth - 1)
            found += [inner, *further.commands]
            doubt = doubt or further.doubt
    return Line(tuple(found), doubt)


@cache
def _parser() -> "Parser":
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


# -- the tree --------------------------------------------------------------------------------------

_SEQUENCES = frozenset(
    "program list pipeline negated_command subshell compound_statement if_statement elif_clause else_clause "
    "do_group".split()
)
_TOKENS = frozenset("; & && || | |& ( ) { } ! if then elif else fi while until do done for in case esac \n".split(" "))
_RESERVED = frozenset("if then elif else fi do done case esac while until for function select in { } [[ ]]".split())

_BLANK = re.compile(r"(?:[ \t]+(?:\\\n[ \t]*)*)?")
_BLANKS = re.compile(r"[ \t\n]*(?:\\\n[ \t\n]*)*")
_WORD = re.compile(r"(?:[\w\-./,:=+@%^~!\[\]*?#]|\\[^\n])+", re.ASCII)
_EXPANSION = re.compile(r"\$(?:\w+|[?#!@*$-])|\$\{#?\w+\}|\$\{\w+(?::?-|##?|%%?)[\w./*-]*\}", re.ASCII)
_ARITHMETIC = re.compile(r"\$\(\([\d\s+*/%()<>=!&|-]*\)\)", re.ASCII)
_LOOSE_DOLLAR = re.compile(r"""\$[\w({'"@*#?$!-]""", re.ASCII)
_CALCULATES = re.compile(r"-(?:eq|ne|lt|le|gt|ge|v|R)(?:\s|$)|\[[^\]]*\$")
_UNSPLIT = re.compile(r"[\w./:@%+,=-]+")
_EXPANDING = frozenset({"simple_expansion", "expansion", "command_substitution", "arithmetic_expansion"})


@dataclass(slots=True)
class _Reader:
    """Walks over one tree and collects the commands, in the order of the text."""

    source: bytes
    commands: list[Command] = field(default_factory=list)
    doubt: str = ""
    _loops: int = 0
    _turns: dict[str, tuple[Word, ...]] = field(default_factory=dict)

    def text(self, node: "Node") -> str:
        return self.source[node.start_byte : node.end_byte].decode(errors="replace")

    def fail(self, why: str) -> None:
        self.doubt = self.doubt or why

    def visit(self, node: "Node") -> None:
        """Take in a statement."""
        kind = node.type
        if node.is_error or node.is_missing:
            self.fail("it is not well-formed")
            self._rest(node)
        elif kind in _SEQUENCES:
            self._between(node, _BLANKS)
            self._each(node)
        elif kind == "while_statement":
            self._between(node, _BLANKS)
            self._loops += 1
            self._each(node)
            self._loops -= 1
        elif kind == "command":
            self._command(node)
        elif kind == "redirected_statement":
            self._redirected(node)
        elif kind == "for_statement":
            self._loop(node)
        elif kind == "case_statement":
            self._case(node)
        elif kind in ("variable_assignment", "variable_assignments"):
            nodes = [node] if kind == "variable_assignment" else node.named_children
            self._add((), assigned=tuple(self._assignment(child) for child in nodes))
        elif kind in ("declaration_command", "unset_command"):
            self._declaration(node)
        elif kind == "test_command":
            self._test(node)
        elif kind == "comment":
            self._comment(node)
        elif kind == "function_definition":
            self.fail("it defines a function")
            self._rest(node)
        elif node.is_named or self.text(node) not in _TOKENS:
            self.fail(f"it holds something that is not known here ({kind})")
            self._rest(node)

    def _each(self, node: "Node") -> None:
        for child in node.children:
            self.visit(child)

    def _rest(self, node: "Node") -> None:
        """Collect what commands there are below a node that is not understood."""
        for child in node.children:
            if child.type == "command":
                self._command(child)
            else:
                self._rest(child)

    def _between(self, node: "Node", blank: re.Pattern[str]) -> None:
        """Nothing but blanks may lie between the parts of a node."""
        position = node.start_byte
        for child in [*node.children, None]:
            start = child.start_byte if child else node.end_byte
            gap = self.source[position:start].decode(errors="replace")
            if not blank.fullmatch(gap) and not (child is None and not gap.strip()):
                self.fail("it holds text that is not known here")
            position = child.end_byte if child else start

    def _add(
        self,
        words: Sequence[Word],
        *,
        assigned: tuple[tuple[str, Word], ...] = (),
        reads: Sequence[Word] = (),
        writes: Sequence[Word] = (),
    ) -> None:
        command = Command(tuple(words), assigned, tuple(reads), tuple(writes), sure=not self._loops)
        self.commands += self._by_turns(command)

    # -- commands ------------------------------------------------------------------------------

    def _command(self, node: "Node") -> None:
        self._between(node, _BLANK)
        words: list[Word] = []
        assigned: list[tuple[str, Word]] = []
        reads: list[Word] = []
        writes: list[Word] = []
        end = -1
        for child in node.children:
            if child.type in ("file_redirect", "herestring_redirect"):
                self._redirect(child, reads, writes)
            elif child.start_byte == end:
                self.fail("it holds words that run into each other")
            elif child.type == "variable_assignment":
                assigned.append(self._assignment(child))
            elif child.type == "command_name":
                self._name(child, words)
            else:
                words.append(self.word(child))
            end = child.end_byte
        self._add(words, assigned=tuple(assigned), reads=reads, writes=writes)

    def _name(self, node: "Node", words: list[Word]) -> None:
        name = self.word(node.children[0]) if node.child_count == 1 else Word(self.text(node), "open")
        if name.kind != "text":
            self.fail("which program it runs is known only when it runs")
        elif name.text in {*_RESERVED, "!"} and self.text(node) == name.text:
            self.fail(f"{name.text!r} is not where it should be")
        words.append(name)

    def _declaration(self, node: "Node") -> None:
        self._between(node, _BLANK)
        words, assigned = [], []
        for child in node.children:
            if child.type == "variable_assignment":
                assigned.append(self._assignment(child))
            elif child.type == "variable_name" or not child.is_named:
                words.append(Word(self.text(child)))
            else:
                words.append(self.word(child))
        self._add(words, assigned=tuple(assigned))

    def _assignment(self, node: "Node") -> tuple[str, Word]:
        match node.children:
            case [name, operator, *values] if name.type == "variable_name" and self.text(operator) in ("=", "+="):
                if len(values) > 1 or any(value.type == "array" for value in values):
                    self.fail("it assigns a list")
                value = self.word(values[0]) if values else Word("")
                return self.text(name), value
        self.fail("it assigns to something that is not a plain variable")
        self._rest(node)
        return self.text(node).partition("=")[0], Word("", "open")

    def _loop(self, node: "Node") -> None:
        self._between(node, _BLANKS)
        name, values = "", list[Word]()
        for child in node.children:
            if child.type == "variable_name":
                name = self.text(child)
            elif child.type == "do_group":
                self._add((), assigned=tuple((name, value) for value in values or (Word("", "open"),)))
                self._turns[name] = self._values_of(name, values)
                self._loops += 1
                self.visit(child)
                self._loops -= 1
                self._turns[name] = ()
            elif child.is_named and child.type != "comment":
                values.append(self.word(child))
            elif self.text(child) not in _TOKENS:
                self.fail("it has a loop of an unusual kind")

    def _values_of(self, name: str, values: list[Word]) -> tuple[Word, ...]:
        """What a loop's variable can be in its body; nothing where that is not known."""
        # Named in another place than behind a `$`, it may be given something else there.
        named = len(re.findall(rf"(?<![$\w{{]){name}\b", self.source.decode(errors="replace")))
        known = 0 < len(values) <= _MOST_TURNS and named == 1 and all(value.kind != "open" for value in values)
        return tuple(values) if known else ()

    def _by_turns(self, command: Command) -> Iterator[Command]:
        """The command once for each value of a loop's variable that is a word of it."""
        found = [command]
        for name, values in self._turns.items():
            found = [turn for one in found for turn in _turns_of(one, name, values)]
        yield from found

    def _case(self, node: "Node") -> None:
        self._between(node, _BLANKS)
        for child in node.children:
            if child.type == "case_item":
                self._case_item(child)
            elif child.is_named and child.type != "comment":
                self.word(child)
            elif self.text(child) not in _TOKENS and child.type != "comment":
                self.fail("it has a choice of an unusual kind")

    def _case_item(self, node: "Node") -> None:
        self._between(node, _BLANKS)
        before = True
        for child in node.children:
            if before and child.is_named:
                if not re.fullmatch(r"[\w.*?/-]+|\"[^\"$`\\]*\"|'[^']*'", self.text(child), re.ASCII):
                    self.fail("it has a choice of an unusual kind")
            elif not before and self.text(child) != ";;":
                self.visit(child)
            before = before and self.text(child) != ")"

    def _test(self, node: "Node") -> None:
        """`[ … ]` and `[[ … ]]` run nothing, unless they calculate with something that holds a command."""
        written = self.text(node)
        if written.startswith("[ ") and re.search(r"[<>|&;`]", written):
            # To Bash this is a command like others, with redirections, whatever the tree says.
            self.fail("it has a test of an unusual kind")
        bare = re.sub(r"[\"'\\]", "", written)
        if _CALCULATES.search(bare) and not re.fullmatch(r"\[\[? (?:!? ?\$[#?]|\d+) -\w\w \d+ \]\]?", written):
            self.fail("it compares numbers that are not known")
        if node.has_error or not re.fullmatch(r"\[\[ [^\n]* \]\]|\[ [^\n]* \]", written):
            self.fail("it has a test of an unusual kind")
        found = self._words_below(node)
        self._add([Word("["), *(word for word in found if word.kind == "glob" and written.startswith("[ "))])

    def _words_below(self, node: "Node") -> list[Word]:
        found: list[Word] = []
        for child in node.children:
            if child.type.endswith(("_expression", "expression")):
                self._between(child, _BLANKS)
                found += self._words_below(child)
            elif child.is_named and child.type not in ("test_operator", "regex", "extglob_pattern"):
                found.append(self.word(child))
            elif child.is_named and not _WORD.fullmatch(self.text(child)):
                self.fail("it has a test of an unusual kind")
            elif child.type == "extglob_pattern":
                found.append(self._bare(self.text(child)))
            elif not child.is_named and re.search(r"[*?]", self.text(child)):
                self.fail("it has a test of an unusual kind")  # To the tree it multiplies, to Bash it is a wildcard.
        return found

    def _comment(self, node: "Node") -> None:
        before = self.source[node.start_byte - 1 : node.start_byte].decode(errors="replace")
        if "\n" in self.text(node) or (before and before not in " \t\n;&|()"):
            self.fail("it has a comment of an unusual kind")

    # -- redirections --------------------------------------------------------------------------

    def _redirected(self, node: "Node") -> None:
        self._between(node, _BLANKS)
        before = len(self.commands)
        reads: list[Word] = []
        writes: list[Word] = []
        for child in node.children:
            if child.type == "heredoc_redirect":
                self._heredoc(child, reads, writes)
            elif child.type.endswith("_redirect"):
                self._redirect(child, reads, writes)
            else:
                self.visit(child)
        if reads or writes:
            if len(self.commands) == before:
                self._add(())
            first = self.commands[before]
            connected = replace(first, reads=(*first.reads, *reads), writes=(*first.writes, *writes))
            self.commands[before] = connected

    def _redirect(self, node: "Node", reads: list[Word], writes: list[Word]) -> None:
        self._between(node, _BLANK)
        operator = ""
        if self.source[node.start_byte - 1 : node.start_byte] == b"}":
            self.fail("it may give a variable the number of a redirection")  # {PATH}>file
        if sum(child.is_named and child.type != "file_descriptor" for child in node.children) != 1:
            # What follows the file belongs to the command again, and the tree does not tell so.
            self.fail("it has words behind a redirection")
        for child in node.children:
            if child.type == "file_descriptor":
                if not re.fullmatch(r"\d{1,3}", self.text(child), re.ASCII):
                    self.fail("it has a redirection of an unusual kind")
                continue
            if not child.is_named:
                operator += self.text(child)
                continue
            target = self.word(child)
            match operator:
                case "<<<":
                    continue
                case "<":
                    reads.append(target)
                case ">" | ">>" | "&>" | "&>>" | ">|":
                    writes.append(target)
                case ">&" | "<&" if target.kind == "text" and re.fullmatch(r"[012-]", target.text):
                    continue
                case _:
                    self.fail("it has a redirection of an unusual kind")
                    writes.append(target)

    def _heredoc(self, node: "Node", reads: list[Word], writes: list[Word]) -> None:
        start = next((child for child in node.children if child.type == "heredoc_start"), None)
        end = next((child for child in node.children if child.type == "heredoc_end"), None)
        operator = self.text(node.children[0])
        written = self.text(start) if start else ""
        name = written.strip("'\"")
        if end is None or operator not in ("<<", "<<-") or not re.fullmatch(r"'\w+'|\"\w+\"|\w+", written, re.ASCII):
            self.fail("it has a here-document of an unusual kind")
        elif not self._ends_first_at(end, name, tabs=operator == "<<-"):
            self.fail("it has a here-document that ends elsewhere")
        for child in node.children:
            if child.type == "heredoc_body":
                if written == name:
                    if "\\\n" in self.text(child):
                        self.fail("it has a here-document with lines that are joined")
                    self._heredoc_body(child)
            elif child.type.endswith("_redirect"):
                self._redirect(child, reads, writes)
            elif child.type == "heredoc_redirect":
                self.fail("it has two here-documents at once")
                self._rest(child)
            elif child.is_named and not child.type.startswith("heredoc_"):
                self.visit(child)
            elif not child.is_named and self.text(child) not in ("<<", "<<-", "|", "|&", "&&", "||", ";", "&"):
                self.fail("it has a here-document of an unusual kind")

    def _ends_first_at(self, end: "Node", name: str, *, tabs: bool) -> bool:
        """Whether the first line that ends the document is the one which the tree names."""
        parent = end.parent
        start = self.source.find(b"\n", parent.start_byte if parent else 0) + 1
        lines = self.source[start : end.end_byte].decode(errors="replace").split("\n")
        bare = [line.lstrip("\t") if tabs else line for line in lines]
        after = self.source[end.end_byte : end.end_byte + 1]
        return start > 0 and bare.index(name) == len(bare) - 1 and after in (b"", b"\n") if name in bare else False

    def _heredoc_body(self, node: "Node") -> None:
        """The body of a document whose name is not quoted: its substitutions run."""
        for child in node.children:
            if child.type in _EXPANDING:
                self._expansion(child)
        if self._unseen_expansion(node, node.start_byte, node.end_byte):
            self.fail("it has a here-document with something put in")

    # -- words ---------------------------------------------------------------------------------

    def word(self, node: "Node") -> Word:
        """A word, and into the commands whatever it runs to be known."""
        kind, written = node.type, self.text(node)
        match kind:
            case "word" | "number" | "extglob_pattern" | "variable_name" | "test_operator" | "regex":
                return self._bare(written)
            case "raw_string":
                return Word(written[1:-1]) if "'" not in written[1:-1] else self._odd(node)
            case "string":
                return self._string(node)
            case "ansi_c_string":
                return Word(written, "open")
            case "concatenation":
                return self._joined(node)
            case "process_substitution":
                self._between(node, _BLANKS)
                for child in node.named_children:
                    self.visit(child)
                return Word(written, "open")
            case _ if kind in _EXPANDING:
                self._expansion(node)
                return Word(written, "open")
        return self._odd(node)

    def _odd(self, node: "Node") -> Word:
        self.fail(f"it holds something that is not known here ({node.type})")
        self._rest(node)
        return Word(self.text(node), "open")

    def _bare(self, written: str) -> Word:
        if written == "{}":
            return Word(written)
        if written in ("$", "@", "%"):
            return Word(written)
        if any(brace in written for brace in "{}"):
            plain = re.fullmatch(r"[\w./~^@-]*@\{[\w-]+\}", written, re.ASCII)  # a revision: HEAD@{1}
            return Word(written) if plain else Word(written, "open")
        if not _WORD.fullmatch(written) or written.startswith("#"):
            if written.isascii() or not all(char.isalnum() or _WORD.fullmatch(char) for char in written):
                self.fail("it holds a word of an unusual kind")
            return Word(written, "open")
        if re.match(r"~(?:/|$)", written) and "\\" not in written:
            return Word(str(Path(written).expanduser())) if not re.search(r"[*?\[]", written) else Word(written, "open")
        if written.startswith("~") or re.search(r"[=:]~", written):
            return Word(written, "open")
        if re.search(r"(?<!\\)[*?\[]", written):
            return Word(written, "glob" if "\\" not in written else "open")
        return Word(re.sub(r"\\(.)", r"\1", written))

    def _joined(self, node: "Node") -> Word:
        if self.text(node) == "{}" or all(child.type in ("word", "number") for child in node.children):
            return self._bare(self.text(node))
        self._between(node, re.compile(""))
        parts = [self.word(child) if child.is_named else self._bare(self.text(child)) for child in node.children]
        if any("{" in part.text for part, child in zip(parts, node.children, strict=True) if child.type == "word"):
            return Word(self.text(node), "open")
        kinds = {part.kind for part in parts}
        if "open" in kinds:
            return Word(self.text(node), "open")
        text = "".join(part.text for part in parts)
        if "glob" not in kinds:
            return Word(text)
        # Wildcards within the quotes stand for themselves, and are not told from the others here.
        quoted = any(part.kind == "text" and re.search(r"[*?\[\]]", part.text) for part in parts)
        return Word(self.text(node), "open") if quoted else Word(text, "glob")

    def _string(self, node: "Node") -> Word:
        written = self.text(node)
        inside = [child for child in node.children if child.type in _EXPANDING]
        for child in inside:
            self._expansion(child)
        if len(written) < 2 or not (written[0] == written[-1] == '"'):
            return self._odd(node)
        if self._unseen_expansion(node, node.start_byte + 1, node.end_byte - 1, quote='"'):
            return self._odd(node)
        if inside:
            plain = f'"{self.text(inside[0])}"' == written
            return Word(self.text(inside[0]) if plain else written, "open", quoted=plain)
        return Word(re.sub(r"\\([$`\"\\\n])", lambda found: found[1].strip("\n"), written[1:-1]))

    def _unseen_expansion(self, node: "Node", start: int, end: int, *, quote: str = "") -> bool:
        """Whether the text between the expansions of a node holds something that Bash would take for one."""
        position = start
        for child in [*(child for child in node.children if child.type in _EXPANDING), None]:
            until = child.start_byte if child else end
            text = re.sub(r"\\.", "", self.source[position:until].decode(errors="replace"), flags=re.DOTALL)
            if "`" in text or text.endswith("\\") or (quote and quote in text) or _LOOSE_DOLLAR.search(text):
                return True
            if child and text.endswith("$"):
                return True
            position = child.end_byte if child else until
        return False

    def _expansion(self, node: "Node") -> None:
        """Take in what an expansion runs."""
        written = self.text(node)
        if node.type == "command_substitution":
            opened = self.text(node.children[0]).strip()
            if opened not in ("$(", "`") or (opened == "`" and "\\" in written):
                self.fail("it holds a substitution of an unusual kind")
            self._between(node, _BLANKS)
            for child in node.children[1:-1]:
                self.visit(child)
        elif node.type == "arithmetic_expansion":
            if not _ARITHMETIC.fullmatch(written):
                self.fail("it calculates with something that is not known")
                self._rest(node)
        elif not _EXPANSION.fullmatch(written):
            self.fail("it holds an expansion of an unusual kind")
            self._rest(node)


def _turns_of(command: Command, name: str, values: tuple[Word, ...]) -> list[Command]:
    def is_it(word: Word) -> bool:
        return word.kind == "open" and word.text in (f"${name}", f"${{{name}}}")

    def put(word: Word, value: Word) -> Word:
        # Without quotes Bash takes what comes of it apart at blanks, and looks for wildcards in it.
        whole = word.quoted or (value.kind == "text" and _UNSPLIT.fullmatch(value.text))
        return value if is_it(word) and whole else word

    if not any(is_it(word) for word in command.words):
        return [command]
    return [replace(command, words=tuple(put(word, value) for word in command.words)) for value in values] or [command]
