"""The SDK is imported without its expensive, unused parts, and behaves as ever afterwards.

Each test is a program of its own: what is imported cannot be taken back.
"""

import subprocess
import sys
import textwrap


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_no_request_needs_is_not_loaded() -> None:
    unwanted = run("""
        import sys
        from agent.models import _sdk
        openai = _sdk.load()
        openai.OpenAI, openai.Stream, openai.APIStatusError
        prefixes = (
            "openai.types.chat.", "openai.types.responses.", "openai.types.beta", "openai.types.image",
            "openai.lib.azure", "openai.lib.bedrock", "openai.lib._old_api", "openai.lib._parsing", "openai.lib._tools",
            "openai.lib.streaming", "openai.providers", "openai.resources",
        )
        print([name for name in sys.modules if name.startswith(prefixes)])
    """)
    assert unwanted == "[]"


def test_a_whole_request_loads_none_of_it_either() -> None:
    unwanted = run("""
        import sys
        from agent.cancel import CancelToken
        from agent.config import ModelChoice
        from agent.messages import Message
        from agent.models.openai import OpenAIChatModel
        from tests.support.openai_server import OpenAIServer, say
        with OpenAIServer([say("hi")]) as server:
            model = OpenAIChatModel(ModelChoice(provider="custom", model="m", base_url=server.base_url))
            list(model.stream([Message("user", "hi")], [], cancel=CancelToken()))
        prefixes = ("openai.types.chat.", "openai.types.responses.", "openai.resources", "openai.lib.azure")
        print([name for name in sys.modules if name.startswith(prefixes)])
    """)
    assert unwanted == "[]"


def test_ordinary_access_works_afterwards() -> None:
    names = run("""
        from agent.models import _sdk
        openai = _sdk.load()
        import openai.types.chat
        from openai.types import CompletionUsage
        from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
        from openai import AzureOpenAI, BadRequestError, NOT_GIVEN
        assert openai.types.CompletionUsage is CompletionUsage
        assert openai.types.chat.ChatCompletion is ChatCompletion
        assert isinstance(openai.OpenAI(api_key="k").chat.completions.create, object)
        assert openai.__version__ and "OpenAI" in openai.__all__ and "ChatCompletion" in dir(openai.types.chat)
        assert issubclass(openai.BadRequestError, openai.APIStatusError)
        print(ChatCompletion.__name__, CompletionUsage.__name__, AzureOpenAI.__name__)
    """)
    assert names == "ChatCompletion CompletionUsage AzureOpenAI"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    answers = run("""
        from agent.models import _sdk
        openai = _sdk.load()
        print(hasattr(openai, "no_such_name"), hasattr(openai.types, "NoSuchName"), hasattr(openai.lib, "nothing"))
    """)
    assert answers == "False False False"


def test_threads_may_race_for_it() -> None:
    kinds = run("""
        import threading
        from agent.models import _sdk
        barrier, seen = threading.Barrier(8), []
        def work():
            barrier.wait()
            openai = _sdk.load()
            seen.append((openai.types.chat.ChatCompletion, openai.types.responses.Response, openai.AzureOpenAI))
        threads = [threading.Thread(target=work) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(len(seen), len(set(seen)))
    """)
    assert kinds == "8 1"


def test_an_sdk_that_is_loaded_already_is_taken_as_it_is() -> None:
    assert (
        run("""
        import openai
        from agent.models import _sdk
        print(_sdk.load() is openai)
    """)
        == "True"
    )


def test_nothing_is_left_behind_in_the_import_system() -> None:
    assert (
        run("""
        import gc, sys
        before = list(sys.meta_path)
        from agent.models import _sdk
        _sdk.load()
        print(sys.meta_path == before, gc.isenabled())
    """)
        == "True True"
    )
