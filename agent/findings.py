"""What a check of this installation found, of whatever part."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` None is a remark; `advice` is shown unless all is well."""

    ok: bool | None
    what: str
    advice: str = ""

    def line(self) -> str:
        mark = {True: "ok  ", False: "bad ", None: "note"}[self.ok]
        return f"{mark}  {self.what}" + (f"\n        {self.advice}" if self.advice and not self.ok else "")
