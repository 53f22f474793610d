"""Write rendered.json: what transformers makes of the conversations with the templates of this folder.

    python tests/templates/make.py          (needs transformers and jinja2, and nothing of ggufjac)

The templates are those that come with llama.cpp (models/templates, in the source of llama-cpp-python 0.3.36).
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import jinja2
import transformers
from transformers.utils import chat_template_utils

FOLDER = Path(__file__).parent
NOW = datetime(2026, 3, 7, 12, 30)
SPECIAL = {"bos_token": "<BOS>", "eos_token": "<EOS>", "unk_token": "<UNK>", "pad_token": "<PAD>"}


def main() -> None:
    conversations = json.loads((FOLDER / "conversations.json").read_text(encoding="utf-8"))
    rendered: dict[str, dict[str, str | None]] = {}
    with patch.object(chat_template_utils, "datetime") as clock:
        clock.now.return_value = NOW
        for path in sorted(FOLDER.glob("*.jinja")):
            source = path.read_text(encoding="utf-8")
            rendered[path.stem] = {name: render(source, **one) for name, one in conversations.items()}
    made = {
        "transformers": transformers.__version__,
        "jinja2": jinja2.__version__,
        "now": NOW.isoformat(),
        "special": SPECIAL,
        "rendered": rendered,
    }
    (FOLDER / "rendered.json").write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def render(source: str, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str | None:
    """The text; None where the template refuses the messages."""
    continues = add_generation_prompt and messages[-1]["role"] == "assistant"
    try:
        (text,), _ = chat_template_utils.render_jinja_template(
            conversations=[messages],
            chat_template=source,
            add_generation_prompt=add_generation_prompt and not continues,
            continue_final_message=continues,
            **SPECIAL,
        )
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        print(f"refused: {error}"[:100])
        return None
    return text


if __name__ == "__main__":
    main()
