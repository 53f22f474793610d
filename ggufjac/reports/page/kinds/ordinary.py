"""`ordinary` on a page: both reconstructions as pictures."""

from __future__ import annotations

from ggufjac.analyses.ordinary import Ordinary
from ggufjac.reports.page.charts import scatter
from ggufjac.reports.page.markup import Markup, tag
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Shaded, shaded_text, word
from ggufjac.reports.phrases import INSIDE, RECONSTRUCTIONS


def lead(r: Ordinary) -> Section:
    tokens = [
        Shaded(
            token,
            r.detached.terms[t],
            (
                (f"token {t}", word(token)),
                ("detached term", f"{r.detached.terms[t]:+.4f}"),
                ("ordinary term", f"{r.ordinary.terms[t]:+.4f}"),
            ),
        )
        for t, token in enumerate(r.tokens)
    ]
    about = f"each token shaded by its exact term of the logit of {r.target.token.shown}: blue for, orange against"
    return Section(PROMPT, about, shaded_text(tokens))


def bodies(r: Ordinary) -> dict[str, Markup]:
    if not r.arrays.keys() >= RECONSTRUCTIONS:
        return {}
    y = r.arrays["output"].double()
    limit = float(y.abs().quantile(INSIDE))
    pictures = []
    for name, side in (("detached", r.detached), ("ordinary", r.ordinary)):
        made = r.arrays[f"{name}.output"].double().tolist()
        picture = scatter(y.tolist(), made, limit, f"J x against y, {name}: relative error {side.error:.1e}")
        pictures.append(tag("figure", picture, tag("figcaption", f"{name}, misses {side.error:.1e}")))
    return {"Reconstruction": tag("div", *pictures, class_="side")}
