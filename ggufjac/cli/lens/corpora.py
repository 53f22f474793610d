"""The texts that --corpus names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ggufjac.analyses.lens.options import LensFitOptions, LensReadOptions
from ggufjac.cli import common
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.analyses.lens.corpus import Corpus
    from ggufjac.maps.model import Model

#: The corpus that needs no file.
SELF = "self"


def corpus_named(model: Model, name: str, chosen: LensFitOptions | LensReadOptions) -> Corpus:
    """The texts of a file, of a folder, or the model's own. Raises UserError where there are none."""
    from ggufjac.analyses.lens.corpus import corpus_of, own_words
    from ggufjac.batch.documents import read_documents

    if name == SELF:
        with common.watched("texts that the model says by itself"):
            return own_words(model, chosen.prompts, length=chosen.length, seed=chosen.seed, device=chosen.device)
    if not name:
        raise UserError("--corpus: give a file, a folder, or self")
    with common.watched("reading the corpus"):
        documents = read_documents(model, name)
        return corpus_of(model, documents, name, length=chosen.length, skip=chosen.skip, seed=chosen.seed)
