"""The codes of a model: a table of them, distributions over all of them, and the details of each that is shown."""

from __future__ import annotations

from typing import Literal

from sparsecode.reports.schema.arrays import Cell, Histogram, PackedArray
from sparsecode.specs import Spec

__all__ = [
    "Atom",
    "Band",
    "CodeColumn",
    "CodeDetail",
    "CodeTable",
    "Distribution",
    "Effect",
    "LabelShare",
    "NearCode",
    "ShownExample",
    "TokenContext",
    "WeightedName",
]


class CodeColumn(Spec, tag="code_column"):
    """A number per shown code, `values` [n_shown] (f8, NaN: not defined), in the order of `CodeTable.codes`.

    `key` is one of density, mean_active, max_active, norm, coherence, importance, purity, stability, gate (more may come);
    `definition` a key of `Document.definitions`. `log`: whether a logarithmic scale suits it.
    """

    key: str
    label: str
    unit: str
    definition: str
    values: PackedArray
    log: bool = False


class WeightedName(Spec, tag="weighted_name"):
    """A feature of the data (a column of a table, a pixel, a class, a token) and its weight."""

    name: str
    weight: float


class Atom(Spec, tag="atom"):
    """What a code stands for in data space: what it adds to the output per unit of the code (`exact`), or at its largest value.

    `picture` of it for images, and `field` the picture of the encoder's weights (receptive field) where the encoder is affine;
    `weights` [n_features] (f4) where samples are not pictures and have few features; `top` its largest weights by magnitude.
    `sites`: its norm at each site of a model of several, as shares of the whole.
    """

    picture: Cell | None = None
    field: Cell | None = None
    weights: PackedArray | None = None
    top: tuple[WeightedName, ...] = ()
    sites: tuple[float, ...] = ()
    exact: bool = True


class TokenContext(Spec, tag="token_context"):
    """Tokens around an example, as text, in order; `activations` of the code on each (None: not known); `centre` is the example's."""

    tokens: tuple[str, ...]
    activations: tuple[float | None, ...]
    centre: int


class ShownExample(Spec, tag="shown_example"):
    """A sample on which the code has the value `activation`: number `sample` in `RunReport.pool`, and the text around it."""

    sample: int
    activation: float
    context: TokenContext | None = None


class Band(Spec, tag="band"):
    """Examples of one range [`low`, `high`] of a code's activation magnitude among the samples on which it is active.

    `kind`: top (the largest), quantile (around the `quantile`), threshold (the smallest active values). Reserved: off, for samples on which
    the code is nearly active.
    """

    kind: Literal["top", "quantile", "threshold", "off"]
    label: str
    low: float | None
    high: float | None
    examples: tuple[ShownExample, ...]
    quantile: float | None = None


class NearCode(Spec, tag="near_code"):
    """Another code, and how near it is. It may not be among the shown ones."""

    code: int
    value: float


class Effect(Spec, tag="effect"):
    """What setting this code to 0 does on samples on which it is active.

    `loss`: the increase of the error of the output (squared error per sample in data space; cross-entropy of classifiers), mean
    over `n` samples; `share` of the error with all codes. `features`: what it adds to the output there, mean of the largest changes by
    magnitude (classes: the change of logits).
    """

    n: int
    loss: float
    share: float | None
    features: tuple[WeightedName, ...] = ()


class LabelShare(Spec, tag="label_share"):
    """Of the samples on which the code is active, the `share` with this label; `base` is the label's share of all samples."""

    label: str
    share: float
    base: float


class CodeDetail(Spec, tag="code_detail"):
    """One code. Parts that are not defined for the model are None or empty.

    `activations`: magnitudes on active samples. `signed`: whether values of both signs occur. `by_cosine`: |cosine| of atoms, largest
    first (signed value). `by_firing`: codes active on the same samples, by the Jaccard index (both active / either active).
    """

    code: int
    atom: Atom | None
    activations: Histogram | None
    bands: tuple[Band, ...]
    by_cosine: tuple[NearCode, ...]
    by_firing: tuple[NearCode, ...]
    effect: Effect | None
    labels: tuple[LabelShare, ...]
    signed: bool = False


class Distribution(Spec, tag="distribution"):
    """One coder on `n` samples: how often codes are active, and how many are active per sample; over all codes of the model.

    `dead` (on no sample), `dense` (on more than a tenth) and `always_on` (on every one) count codes. Equal to `eval.json` where `same_as_eval`,
    that is where they are of the same samples.
    """

    coder: str
    label: str
    n: int
    density: Histogram
    l0: Histogram
    mean_l0: float
    dead: int
    dense: int
    always_on: int
    same_as_eval: bool


class CodeTable(Spec, tag="code_table"):
    """`n_code` codes by `coder` on `n` samples of `split`, active above `theta`; of these `codes` [n_shown] (i4) are shown, most important first.

    `importance_of` says in words what importance is here: the increase of the loss when a code is set to 0, or its share of the energy of
    the output where that costs too much. `left_out` says what is not shown ("" if everything is). `groups` are lists of codes to
    link to by name (dead, dense, always_on), of all codes of the model, cut to the first 1000.
    """

    coder: str
    split: str
    n: int
    n_code: int
    theta: float
    codes: PackedArray
    columns: tuple[CodeColumn, ...]
    importance_of: str
    left_out: str
    groups: dict[str, tuple[int, ...]]
    distributions: tuple[Distribution, ...]
    details: tuple[CodeDetail, ...]
