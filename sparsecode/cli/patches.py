"""`sparsecode patches`: patches by local contrast normalisation as arrays."""

from __future__ import annotations

from sparsecode.cli.arguments import option_error, sweep_extract
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_file
from sparsecode.data.images import PARTS
from sparsecode.data.local_contrast import LCN
from sparsecode.data.patches import Patches

__all__ = ["patches_command"]


def patches_command(args: sweep_extract.PatchesArguments) -> None:
    """Build patches by local contrast normalisation as arrays."""
    fields = args._asdict()
    out, images = fields.pop("out"), fields.pop("images")
    refuse_file("--out", out)
    window = {name: fields.pop(name) for name in LCN.__struct_fields__}
    try:
        spec = Patches(images=None if images is None else str(images), preprocess=LCN(**window), **fields)
    except ValueError as error:
        raise option_error(error) from None
    made, console = spec.write(out), Console()
    floor = "of each batch" if made.floor is None else f"{made.floor:.4g}"
    sizes = zip(PARTS, (spec.n_train, spec.n_valid, spec.n_test), made.images, strict=True)
    console.print(
        f"{out}: {'' if made.new else 'complete already, and left as it is: '}"
        f"{', '.join(f'{n} {part} patches of {m} images' for part, n, m in sizes)}; floor {floor}",
        highlight=False,
        soft_wrap=True,
    )
