"""Who was let in to chats, in the database."""

from agent.errors import HermesError
from agent.people import (
    ASK_AGAIN,
    CODE_LIFE,
    LOCKED_FOR,
    MOST_PENDING,
    WRONG_TRIES,
    Person,
    Telling,
    code_hash,
    new_code,
)
from agent.store.chats import put_letter
from agent.store.database import OnDatabase
from agent.store.text import cleaned


class SqlitePeople(OnDatabase):
    """The `PeopleStore` part of the store."""

    def ask_to_pair(self, platform: str, user_id: str, name: str, *, now: float, tell: Telling | None = None) -> str:
        code = new_code()
        with self._database.write() as connection:
            waiting = connection.execute(
                "SELECT user_id, at FROM people WHERE platform = ? AND state = 'pending' AND at > ?",
                (platform, now - CODE_LIFE),
            ).fetchall()
            mine = [at for other, at in waiting if other == user_id]
            others = [at for other, at in waiting if other != user_id]
            if any(at > now - ASK_AGAIN for at in mine) or len(others) >= MOST_PENDING:
                return ""
            kept = connection.execute(
                """
                INSERT INTO people (platform, user_id, name, state, code, at) VALUES (?, ?, ?, 'pending', ?, ?)
                ON CONFLICT (platform, user_id)
                DO UPDATE SET name = excluded.name, code = excluded.code, at = excluded.at WHERE state = 'pending'
                """,
                (platform, user_id, cleaned(name), code_hash(platform, code), now),
            ).rowcount
            if kept and tell is not None:
                put_letter(connection, *tell(code))
        return code if kept else ""

    def approve_pairing(self, platform: str, code: str, *, now: float) -> Person | None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM wrong_codes WHERE at <= ?", (now - LOCKED_FOR,))
            tries = connection.execute("SELECT count(*) FROM wrong_codes WHERE platform = ?", (platform,)).fetchone()[0]
            if tries >= WRONG_TRIES:
                raise HermesError(
                    f"Too many wrong codes for {platform}.", hint="Codes are taken again within the hour."
                )
            rows = connection.execute(
                """
                UPDATE people SET state = 'allowed', code = '', at = ?
                WHERE platform = ? AND state = 'pending' AND code = ? AND at > ?
                RETURNING platform, user_id, name, state, at
                """,
                (now, platform, code_hash(platform, code), now - CODE_LIFE),
            ).fetchall()
            if not rows:
                connection.execute("INSERT INTO wrong_codes (platform, at) VALUES (?, ?)", (platform, now))
        return Person(*rows[0]) if rows else None

    def people(self, platform: str = "") -> list[Person]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT platform, user_id, name, state, at FROM people WHERE ? IN ('', platform) ORDER BY platform, at",
                (platform,),
            ).fetchall()
        return [Person(*row) for row in rows]

    def revoke(self, platform: str, user_id: str) -> bool:
        with self._database.write() as connection:
            return (
                connection.execute(
                    "DELETE FROM people WHERE platform = ? AND user_id = ?", (platform, user_id)
                ).rowcount
                > 0
            )
