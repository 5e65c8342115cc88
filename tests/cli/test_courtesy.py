"""Threads that stream stand aside for the keyboard."""

import threading
import time

from hermes_cli.courtesy import KeyboardFirst


def test_a_thread_stands_aside_from_a_key_to_its_drawing() -> None:
    keyboard, passed = KeyboardFirst(), threading.Event()
    keyboard.pressed()

    def stream() -> None:
        keyboard.give_way()
        passed.set()

    thread = threading.Thread(target=stream)
    thread.start()
    keyboard.drawn()
    assert passed.wait(5)
    thread.join()


def test_a_key_that_leads_to_no_drawing_does_not_stop_a_stream() -> None:
    keyboard = KeyboardFirst()
    keyboard.pressed()
    keyboard.give_way()


def test_background_work_leaves_most_of_a_processor_to_others() -> None:
    step = KeyboardFirst().pace()
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < 0.03:
        step()
    assert time.monotonic() - began > 2 * (time.thread_time() - worked)
