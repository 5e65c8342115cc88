"""The least there is to beat: a prompt with a completer."""

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter

NAMES = """
new reset clear history save retry undo title branch resume search compress background tasks queue steer stop status
export config model reasoning personality verbose skin approvals yolo tools skills memory diff rollback init reload help
usage context version doctor copy quit exit
""".split()
completer = WordCompleter(["/" + name for name in NAMES], sentence=True)
session: PromptSession[str] = PromptSession("› ", completer=completer)
while True:
    session.prompt()
