"""The prompt of a command: what a person typed, or a file, or standard input, as text or as a chat."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ggufjac import parse
from ggufjac.chat.messages import parse_messages
from ggufjac.chat.prompt import Bos, Message, Prompt
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.maps.textfile import TextFile

#: What -e reads, and what the signs of one letter mean.
ESCAPE = re.compile(r"\\(?:u(?P<u>[0-9a-fA-F]{4})|x(?P<x>[0-9a-fA-F]{2})|(?P<one>[nrt\\]))")
ONE = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
STDIN = "standard input"


def add(command: argparse.ArgumentParser, *, repeated: bool = False, messages: bool = True) -> None:
    """The flags that say how prompts are meant; messages: whether chats may come from a file, repeated: and from
    several."""
    group = command.add_argument_group("the prompt")
    group.add_argument(
        "--chat", action="store_true", help="the prompt is a user's message, in the file's chat template"
    )
    group.add_argument("--system", metavar="TEXT", help="a chat with this system message before it")
    if messages:
        group.add_argument(
            "--messages",
            metavar="FILE",
            action="append",
            default=[],
            help="a chat from a JSON file, [{role, content}, ...] ('-': standard input); a last message of the "
            "assistant is one that goes on" + ("; may be repeated" if repeated else ""),
        )
    group.add_argument("--template", metavar="NAME", help="the file's chat template of this name")
    group.add_argument("--no-special", action="store_true", help='"<s>" and the like in the text are plain text')
    group.add_argument(
        "--bos",
        choices=("auto", "yes", "no"),
        default="auto",
        help="BOS in front (default: as the file says)",
    )
    group.add_argument(
        "-e", "--escapes", action="store_true", help=r"read \n, \t, \\, \uXXXX and \xNN in what is typed"
    )


@dataclass(frozen=True)
class TypedPrompt:
    """A prompt before its model is open. text: a bare one, or ""; messages: those of a chat; template: its name;
    special, bos: as in `Prompt`."""

    text: str
    messages: tuple[Message, ...]
    template: str | None
    special: bool
    bos: Bos

    def on(self, model: TextFile) -> Prompt:
        """As the model is given it. Raises UserError where a chat is meant and its file has no template for it."""
        if self.messages:
            return model.chat(self.messages, template=self.template, special=self.special, bos=self.bos)
        return Prompt(self.text, special=self.special, bos=self.bos)


def read(args: argparse.Namespace, typed: str | None, file: str | None = None) -> TypedPrompt:
    """The one prompt of a command: typed, or from a file, standard input or --messages, as the flags say.

    Raises UserError where there is none or more than one, and where it cannot be read.
    """
    if len(args.messages) > 1:
        raise UserError("--messages was given twice; it takes one value")
    if args.messages:
        for name, given in (("PROMPT", typed), ("--prompt-file", file)):
            if given is not None:
                raise UserError(f"give either {name} or --messages, not both")
        return _chat(args, args.messages[0])
    if typed is not None and file is not None:
        raise UserError("give either PROMPT or --prompt-file, not both")
    if typed is not None and typed != "-":
        return meant(args, typed)
    if args.escapes:
        raise UserError("-e reads escapes in a PROMPT that is typed; files and standard input are taken byte for byte")
    return from_file(args, file) if file is not None else made(args, _stdin(typed is None))


def meant(args: argparse.Namespace, text: str) -> TypedPrompt:
    """A typed text as the flags say. Raises UserError where it is empty, or an escape is none."""
    return made(args, unescaped(text) if args.escapes else text)


def several(args: argparse.Namespace, typed: list[str]) -> list[TypedPrompt]:
    """All prompts of a command that takes several: those typed, then those of --messages."""
    return [*(meant(args, text) for text in typed), *(_chat(args, path) for path in args.messages)]


def from_file(args: argparse.Namespace, path: str) -> TypedPrompt:
    """A file's text as the flags say, as it is. Raises UserError where it is empty or cannot be read."""
    return made(args, _file(path, "the prompt"))


def unescaped(text: str) -> str:
    """The text with escapes read. Raises UserError for a backslash that begins none."""
    parts, at = [], 0
    while (slash := text.find("\\", at)) >= 0:
        found = ESCAPE.match(text, slash)
        if found is None:
            raise UserError(
                f"-e: {text[slash : slash + 2]} is no escape; there are \\n, \\r, \\t, \\\\, \\uXXXX and \\xNN"
            )
        code = found["u"] or found["x"]
        parts += [text[at:slash], chr(int(code, 16)) if code else ONE[found["one"]]]
        at = found.end()
    joined = "".join((*parts, text[at:]))
    try:  # two halves of a character beyond U+FFFF are that character
        return joined.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise UserError("-e: the text holds half of a character (a lone surrogate), which is no text") from None


def made(args: argparse.Namespace, text: str) -> TypedPrompt:
    """A text as it is, bare or as a user's message. Raises UserError where it is empty."""
    if not text:
        raise UserError("the prompt is empty; give at least one character")
    if args.chat or args.system is not None:
        return _with(args, "", (*_system(args), Message("user", text)))
    if args.template is not None:
        raise UserError("--template names a chat template; it goes with --chat, --system or --messages")
    return _with(args, text, ())


def _chat(args: argparse.Namespace, path: str) -> TypedPrompt:
    where = STDIN if path == "-" else path
    messages = parse_messages(_stdin(False) if path == "-" else _file(path, "the messages"), where)
    if args.system is not None and any(message.role == "system" for message in messages):
        raise UserError(f"{where}: there is a system message already; leave out --system")
    return _with(args, "", (*_system(args), *messages))


def _with(args: argparse.Namespace, text: str, messages: tuple[Message, ...]) -> TypedPrompt:
    return TypedPrompt(text, messages, args.template, not args.no_special, args.bos)


def _system(args: argparse.Namespace) -> tuple[Message, ...]:
    if args.system is None:
        return ()
    return (Message("system", unescaped(args.system) if args.escapes else args.system),)


def _file(path: str, what: str) -> str:
    """A file's text as it is, its last newline too."""
    try:
        return parse.text(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {what} cannot be read ({error})") from None


def _stdin(unasked: bool) -> str:
    """Standard input as it is; unasked: nothing said that it holds the prompt."""
    if sys.stdin is None or (unasked and sys.stdin.isatty()):
        raise UserError('no prompt; give one as ggufjac analyze MODEL "The capital of France is"')
    try:
        return parse.text(sys.stdin.buffer.read())
    except ValueError as error:
        raise UserError(f"{STDIN} cannot be read ({error})") from None
