"""Arrays, pictures and histograms as they stand in a report."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsecode.specs import Spec

__all__ = ["Cell", "Histogram", "PackedArray", "Sheet", "packed"]

Kind = Literal["f4", "f8", "i4", "u1", "u2"]


class PackedArray(Spec, tag="array"):
    """Numbers of one type, row by row: `data` is the base64 text of their little-endian bytes, prod(`shape`) of them.

    `kind` is f4 or f8 (floating-point numbers of 4 or 8 bytes), i4 (whole), u1 or u2 (whole, not negative). NaN in f4 and f8: not
    defined. In a browser: `new Float32Array(Uint8Array.from(atob(data), c => c.charCodeAt(0)).buffer)`.
    """

    kind: Kind
    shape: tuple[int, ...]
    data: str

    def __post_init__(self) -> None:
        super().__post_init__()
        expected = 4 * -(-math.prod(self.shape) * int(self.kind[1]) // 3)
        if len(self.data) != expected:
            raise ValueError(
                f"PackedArray.data has {len(self.data)} characters; expected {expected} for {self.kind} of shape {self.shape}"
            )

    def values(self) -> NDArray[Any]:
        """As a NumPy array of its shape.

        >>> import numpy as np
        >>> packed(np.arange(4.0).reshape(2, 2)).values()
        array([[0., 1.],
               [2., 3.]])
        """
        return np.frombuffer(b64decode(self.data), f"<{self.kind}").reshape(self.shape)


def packed(values: Any, kind: Kind = "f8") -> PackedArray:
    """A NumPy array, or what becomes one, as an `PackedArray`."""
    numbers = np.ascontiguousarray(values, dtype=f"<{kind}")
    return PackedArray(kind, numbers.shape, b64encode(numbers.tobytes()).decode())


class Sheet(Spec, tag="sheet"):
    """A sprite sheet: one PNG (base64 text) of `n` pictures of one size, `columns` in a row, without space between them.

    Picture i stands at row i // columns, column i % columns; each is `height` by `width` pixels. `scale` says in words what black,
    grey and white (or colours) mean, such as "grey is 0; black and white are -max |w| and max |w| of each atom".
    """

    png: str
    n: int
    height: int
    width: int
    columns: int
    scale: str


class Cell(Spec, tag="cell"):
    """Picture `index` of the sheet of that name in `RunReport.sheets`."""

    sheet: str
    index: int


class Histogram(Spec, tag="histogram"):
    """`counts` [n] of values between successive `edges` [n + 1]; the last bin holds its upper edge, too.

    `below`: how many values are not in the histogram, being 0 where the axis is logarithmic, or inactive (the label `below_is`
    says which). `log`: whether the edges are equally spaced in the logarithm.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    label: str
    below: int = 0
    below_is: str = ""
    log: bool = False
