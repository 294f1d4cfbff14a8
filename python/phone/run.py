"""Lets a phone agent do a task on a new scripted phone and shows what it did.

    ./setup.sh phone                                          # everything that is needed, then this with the first task
    make phone TASK='Open Settings, then turn on Wi-Fi'       # one of your own
    build/venv/bin/python python/phone/run.py --all           # the tasks of tasks.py, with their ends checked

Without --url it starts build/openautoglm with the shipped model and stops it at the end. The steps are printed, and
drawn into one picture with --filmstrip.
"""
import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import openai

import painter  # makes the package of the generator known
from agent import Agent, Device
from device import Phone
from tasks import TASKS, verdict

from openautoglm import evaluate

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = "Open Settings, turn on Wi-Fi, then scroll down, then open About"


@contextlib.contextmanager
def server(url):
    """The address of a server: the one that was named, or one that runs for as long as it is needed."""
    if url:
        yield url
        return
    os.environ.setdefault("OPENAUTOGLM_LOG_LEVEL", "warn")
    process, url = evaluate.serve(str(ROOT / "build" / "openautoglm"), str(ROOT / "models" / "open-autoglm-v1"))
    try:
        yield url
    finally:
        process.terminate()
        process.wait(20)


def do(client, text, language, width, most):
    """Does one task on a new phone whose adb is the first on the PATH; returns the steps and the phone's state."""
    with tempfile.TemporaryDirectory() as folder:
        phone = Phone.create(folder, language, width)
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{phone.folder / 'bin'}{os.pathsep}{before}"
        try:
            steps = []
            for step in Agent(client, Device(), most).run(text):
                print(f"  {step.answer}", flush=True)
                steps.append(step)
        finally:
            os.environ["PATH"] = before
        return steps, Phone(folder).state


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("task", nargs="?", default=DEFAULT, help="clauses that the model knows, joined by commas or `then`")
    p.add_argument("--url", help="of a running server, up to /v1")
    p.add_argument("--language", choices=("en", "zh"), default="en", help="of the phone")
    p.add_argument("--width", type=int, default=1080, help="of the phone's screen in pixels")
    p.add_argument("--most", type=int, default=20, help="steps before the task is given up")
    p.add_argument("--filmstrip", metavar="FILE", help="draw the steps into this PNG")
    p.add_argument("--all", action="store_true", help="do all tasks of tasks.py")
    a = p.parse_args()
    painter.need_fonts()
    failed = 0
    with server(a.url) as url:
        client = openai.OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "EMPTY"))
        for task in TASKS if a.all else [None]:
            print(task.text if task else a.task)
            steps, state = do(client, task.text if task else a.task, task.language if task else a.language, a.width,
                              a.most)
            wrong = task and verdict(task, state, steps)
            failed += bool(wrong)
            if wrong:
                print(f"  WRONG: {wrong}")
    if a.filmstrip:
        import filmstrip
        filmstrip.write(steps, a.filmstrip)
        print(f"the steps are drawn in {a.filmstrip}")
    if a.all:
        print(f"{len(TASKS) - failed} of {len(TASKS)} tasks end as they must")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
