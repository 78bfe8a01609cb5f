"""The plan of a training, apart from the loop: importing this does not import Fabric, which takes a second."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sparsecode.choices import Accelerator
from sparsecode.data.batches import steps_per_epoch
from sparsecode.errors import NonFiniteLossError
from sparsecode.schedules import Clock
from sparsecode.specs import Count, NonNegative, Positive, Spec

__all__ = [
    "NAMED",
    "UNREAD",
    "Accelerator",
    "NonFiniteLossError",
    "Precision",
    "StopTraining",
    "Train",
    "clock",
]

UNREAD = "a closed output"  # the reason to stop when nobody reads the output, as in `train | head`
Precision = Literal["32-true", "64-true", "bf16-mixed", "float32", "float64", "bf16"]
NAMED = {"float32": "32-true", "float64": "64-true", "bf16": "bf16-mixed"}  # as they are recorded


class Train(Spec, tag="train"):
    """Length of a training, batch size, and intervals of validation. The batch is global: all processes share it."""

    epochs: Annotated[float, Meta(gt=0, description="passes over the training samples")]
    batch_size: Annotated[int, Meta(ge=1, description="samples per optimiser step, over all processes")]
    select: Annotated[
        str,
        Meta(
            description="validation value that picks the best model, such as encode/psnr or elbo/hard/elbo, or `last` for the latest one"
        ),
    ]
    evaluate_every: Annotated[Positive, Meta(description="epochs between validations")] = 1.0
    checkpoint_every: Annotated[Positive, Meta(description="epochs between checkpoints")] = 1.0
    log_every: Annotated[Count, Meta(description="steps between records of the training loss")] = 20
    precision: Annotated[
        Precision,
        Meta(
            description="of weights and steps: float32, float64, or bf16, in which products of dense steps are in bfloat16; also by the names of Fabric"
        ),
    ] = "32-true"
    patience: Annotated[
        Count | None,
        Meta(
            description="early stopping: validations without an improvement after which training ends, such as 5 with --train.select encode/psnr"
        ),
    ] = None
    min_change: Annotated[
        NonNegative, Meta(description="how much less or more of `select` is an improvement to `patience`")
    ] = 0.0
    compile: Annotated[bool, Meta(description="dense steps of autoencoders by torch.compile")] = False

    @property
    def in_bf16(self) -> bool:
        """Whether products of dense training steps are in bfloat16; weights, thresholds, sums and optimisers stay in float32."""
        return self.precision == "bf16-mixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "precision", NAMED.get(self.precision, self.precision))
        if self.patience is not None and self.select == "last":
            raise ValueError(
                f"Train: patience is {self.patience} and select 'last'; expected a validation value in `select`, whose "
                "improvement can be judged"
            )


def clock(train: Train, n: int, processes: int = 1) -> Clock:
    """Steps per epoch and in all for n training samples.

    Raises ValueError if there are fewer samples than one batch, or if the processes cannot share a batch evenly.
    """
    if train.batch_size % processes:
        raise ValueError(f"train.batch_size is {train.batch_size}; expected a multiple of the {processes} processes")
    per_epoch = steps_per_epoch(n, train.batch_size)
    return Clock(per_epoch, max(1, round(train.epochs * per_epoch)))


class StopTraining(Exception):
    """Raised by an observer to stop training after the present step, with its state saved; the text is the reason."""
