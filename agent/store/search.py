"""Searching the messages: an index of three-letter pieces proposes, whoever reads the text decides."""

import sqlite3
from collections.abc import Iterable, Sequence

PIECE = 3
"""Letters of a piece, as the tokenizer `trigram` makes them."""

MOST_PIECES = 400
"""A short word that begins more pieces than this is so common that the newest messages will do."""

_HIT = "sessions.id, sessions.title, number, role, at, messages.content"


def candidates(
    connection: sqlite3.Connection, words: list[str], *, sources: Sequence[str] = (), besides: str = ""
) -> Iterable[tuple[str, str, int, str, float, str]]:
    """Messages that may hold all the words, the newest first; those that do are among them. See `SessionStore`."""
    whose = " AND sessions.id <> ?" + (f" AND source IN ({', '.join('?' * len(sources))})" if sources else "")
    values = (besides, *sources)
    if not has_index(connection):
        return _scan(connection, words, whose, values)
    terms: list[str] = []
    for word in words:
        found = _terms(connection, word)
        if found is not None and not found:
            return ()
        terms.extend(found or ())
    if not terms:
        return _scan(connection, words, whose, values)
    return connection.execute(
        f"""
        SELECT {_HIT} FROM messages_index
        JOIN messages ON messages.id = messages_index.rowid JOIN sessions ON sessions.id = session_id
        WHERE messages_index MATCH ?{whose} ORDER BY messages_index.rowid DESC
        """,
        (" AND ".join(dict.fromkeys(terms)), *values),
    )


def has_index(connection: sqlite3.Connection) -> bool:
    """Whether this build of SQLite, and this file, can search by index."""
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'messages_pieces'").fetchall())


def _terms(connection: sqlite3.Connection, word: str) -> list[str] | None:
    """What the index must hold for the word: all of it. Empty when it holds no such word, None when it cannot tell."""
    if "\0" in word or (len(word) == 1 and word.isascii()):
        return None
    if len(word) >= PIECE:
        return [_quoted(word[at : at + PIECE]) for at in range(len(word) - PIECE + 1)]
    first = word.lower()
    rows = connection.execute(
        "SELECT term FROM messages_pieces WHERE term >= ? AND term < ? LIMIT ?",
        (first, f"{first}\U0010ffff", MOST_PIECES),
    ).fetchall()
    if len(rows) == MOST_PIECES:
        return None
    return [f"({' OR '.join(_quoted(term) for (term,) in rows)})"] if rows else []


def _quoted(piece: str) -> str:
    return '"{}"'.format(piece.replace('"', '""'))


def _scan(
    connection: sqlite3.Connection, words: list[str], whose: str, values: Sequence[str]
) -> Iterable[tuple[str, str, int, str, float, str]]:
    # LIKE folds case for ASCII only, and ends at a NUL; the caller looks for other words alone.
    plain = [word for word in words if word.isascii() or word.upper() == word.lower()]
    likes = "".join(" AND (content LIKE ? ESCAPE '\\' OR instr(content, char(0)))" for _ in plain)
    return connection.execute(
        f"""
        SELECT {_HIT} FROM messages JOIN sessions ON sessions.id = session_id
        WHERE role <> 'system' {likes}{whose} ORDER BY messages.id DESC
        """,
        [*(f"%{_escaped(word)}%" for word in plain), *values],
    )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
