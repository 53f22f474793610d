"""A file's own chat template, rendered in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ggufjac.chat.prompt import Bos, Message, Prompt
from ggufjac.errors import UserError

#: Characters of a template and of a rendered text at most. (The longest of the 70 templates that come with llama.cpp
#: has 17 thousand.)
LONGEST_TEMPLATE, LONGEST_TEXT = 500_000, 8_000_000
#: Seconds of computing that a template may take, and seconds that are waited for it on a busy machine; its bytes.
SECONDS, PATIENCE, MEMORY = 4, 20, 1 << 30
#: Letters of a template's own words in a message.
QUOTED = 200

#: What errors of these names say; others are told by their name.
MEANT = {
    "Refusal": "the template refuses these messages: {reason}",
    "TemplateSyntaxError": "the template is no valid Jinja: {reason}",
    "TemplateAssertionError": "the template is no valid Jinja: {reason}",
    "SecurityError": "the template reaches for what a template may not use: {reason}",
    "MemoryError": f"the template needs more than {MEMORY >> 20} MiB of memory",
    "OverflowError": "the template makes too large a number: {reason}",
    "RecursionError": "the template is nested too deeply",
    "TooLong": f"the template writes more than {LONGEST_TEXT} characters",
    "ModuleNotFoundError": "chat templates need jinja2 (pip install jinja2): {reason}",
    "LookupError": "the template cannot be gone on with: {reason}",
}
WAY_OUT = "write the prompt as the model wants it, without --chat and --messages"


@dataclass(frozen=True)
class ChatTemplate:
    """A template with what it may name.

    source: its text, in Jinja; where: the file and the template, as errors call them; variables: the texts of special
    tokens by their names (bos_token, eos_token, ...).
    """

    source: str
    where: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def prompt(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        special: bool = True,
        bos: Bos = "auto",
        now: datetime | None = None,
    ) -> Prompt:
        """The messages as a prompt.

        add_generation_prompt: the text ends where the assistant's answer begins, or, where the last message is the
        assistant's, where this ends, so that it goes on; False: with the end of the last turn. now: what the template
        takes for the present time.

        Raises UserError for a template that refuses the messages, fails, or takes too long.
        """
        continues = add_generation_prompt and messages[-1].role == "assistant"
        answer = self._asked(
            {
                "template": self.source,
                "messages": [{"role": message.role, "content": message.content} for message in messages],
                "variables": dict(self.variables),
                "add_generation_prompt": add_generation_prompt and not continues,
                "continues": continues,
                "now": (now or datetime.now()).isoformat(),
                "seconds": SECONDS,
                "memory": MEMORY,
                "longest": LONGEST_TEXT,
            }
        )
        spans = tuple((int(start), int(stop)) for start, stop in answer["spans"])
        return Prompt(answer["text"], tuple(messages), special, bos, spans)

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the process answers to a request."""
        if len(self.source) > LONGEST_TEMPLATE:
            raise self._failure(f"the template has {len(self.source)} characters; at most {LONGEST_TEMPLATE} are read")
        late = f"the template takes longer than {SECONDS} s"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "ggufjac.chat.child"],
                input=json.dumps(request).encode(),
                capture_output=True,
                timeout=PATIENCE,
                check=False,
                cwd=_HERE,  # -m looks for modules in the working directory first, where a stranger's may lie
                env={**os.environ, "PYTHONPATH": os.pathsep.join([_HERE, *filter(None, sys.path)])},
            )
        except subprocess.TimeoutExpired:
            raise self._failure(late) from None
        except OSError as error:
            raise self._failure(f"no process could be started for the template ({error})") from None
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            # a process that has used up its time is ended by the system, without a word
            over = done.returncode in (-getattr(signal, "SIGXCPU", 0), -getattr(signal, "SIGKILL", 0))
            raise self._failure(late if over else "the process that renders the template broke off") from None
        if "error" in answer:
            kind, reason = answer["error"], _one_line(answer["reason"])
            raise self._failure(MEANT.get(kind, f"the template fails: {kind}: {{reason}}").format(reason=reason))
        return answer

    def _failure(self, what: str) -> UserError:
        return UserError(f"{self.where}: {what}; {WAY_OUT}")


#: The folder in which this package lies.
_HERE = str(Path(__file__).resolve().parent.parent.parent)


def _one_line(reason: str) -> str:
    """A template's own words: on one line, without what a terminal obeys, and not too long."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in reason).split())
    return shown if len(shown) <= QUOTED else shown[: QUOTED - 1] + "…"
