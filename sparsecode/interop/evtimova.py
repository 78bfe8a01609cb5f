"""Checkpoints of Evtimova & LeCun's sparse coding with multi-layer decoders (TMLR 2022): a state dict each of decoder and encoder.

The files say neither how many iterations LISTA makes nor what lambda was. These stand among the arguments of the run, which are read
where they are: `arguments.json` beside the files, or `../final/TIME_ID.json`, as the original lays its folders out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsecode.interop import formulas
from sparsecode.interop.equivalence import Computed
from sparsecode.interop.keys import EVTIMOVA, check
from sparsecode.interop.readers import get, read_json, write_json
from sparsecode.interop.sparse_coder import Lista, SparseCoderRecord
from sparsecode.interop.weights import load_torch, names_in_torch, save_torch, take, unwrapped

__all__ = ["computed", "matches", "note", "read", "write"]

SUFFIX, NOTE, ARGUMENTS = ".pth", "conversion.json", "arguments.json"
DECODER, ENCODER = "_DEC", "_ENC"  # in names of files, before what tells the best from others
LINEAR: tuple[str, ...] = ("decoder.weight",)
HIDDEN: tuple[str, ...] = ("layer1.weight", "layer1.bias", "layer2.weight")
LISTA: tuple[str, ...] = ("W.weight", "W.bias", "S.weight")
N_ITER = 3  # of all scripts


class _OpenedEvtimova(NamedTuple):
    decoder: dict[str, Tensor]
    encoder: dict[str, Tensor]
    arguments: dict[str, Any]
    file: Path  # of the arguments, for messages


def matches(path: Path) -> bool:
    """Whether this is a checkpoint of a decoder, of an encoder beside one, or a folder with one."""
    return bool(_decoders(path))


def read(path: Path, ignore: Collection[str] = ()) -> SparseCoderRecord:
    """The decoder and, if there is one, the encoder of the same run.

    Raises ValueError naming the files if the folder holds several decoders, or arguments contradict the tensors.
    """
    decoder, encoder, arguments, file = _opened(path, ignore)
    tensors = list(decoder.values())
    out, hidden, bias = (tensors[0].T, None, None) if len(tensors) == 1 else (tensors[2].T, tensors[0].T, tensors[1])
    n_iter = _iterations(arguments, file)
    lista = Lista(encoder["W.weight"], encoder["W.bias"], encoder["S.weight"], n_iter) if encoder else None
    lam, positive = arguments.get("sparsity_reg"), arguments.get("positive_ISTA", True)
    # the original minimises 2 / P times our energy
    weight = None if lam is None else float(lam) * out.shape[1] / 2
    stated = {"num_iter_LISTA": n_iter if "num_iter_LISTA" in arguments else f"{n_iter}, assumed"} if encoder else {}
    coder = SparseCoderRecord(out, hidden, bias, lista, weight, positive, {**stated, "sparsity_reg": lam})
    sizes = {"code_dim": coder.n_code, "hidden_dim": len(out)}
    for name in ("code_dim", "hidden_dim") if hidden is not None else ("code_dim",):
        if arguments.get(name, sizes[name]) != sizes[name]:
            raise ValueError(
                f"{file}: {name} is {arguments[name]}, and the decoder has {sizes[name]}; give files of one run"
            )
    return coder


def computed(path: Path, ignore: Collection[str] = ()) -> Computed:
    """The original's modules, on the tensors as they stand in the files."""
    opened = _opened(path, ignore)
    return formulas.evtimova(opened.decoder, opened.encoder, _iterations(opened.arguments, opened.file))


def write(coder: SparseCoderRecord, path: Path) -> None:
    """Write `model_DEC_best.pth`, `model_ENC_best.pth` if there is an encoder, and the arguments that the files need beside them."""
    encoder = coder.encoder
    if coder.hidden is None or coder.bias is None:
        decoder = dict(zip(LINEAR, (coder.out.T,), strict=True))
    else:
        decoder = dict(zip(HIDDEN, (coder.hidden.T, coder.bias, coder.out.T), strict=True))
    kind = "linear_dictionary" if coder.hidden is None else "one_hidden_decoder"
    arguments: dict[str, Any] = {"decoder": kind, "code_dim": coder.n_code, "positive_ISTA": coder.positive}
    arguments |= {} if coder.hidden is None else {"hidden_dim": len(coder.out)}
    arguments |= {} if coder.weight is None else {"sparsity_reg": 2 * coder.weight / coder.d_in}
    arguments |= {} if encoder is None else {"encoder": "lista_encoder", "num_iter_LISTA": encoder.n_iter}
    write_json(path / ARGUMENTS, arguments)
    save_torch(path / f"model{DECODER}_best{SUFFIX}", _whole(decoder))
    if encoder is not None:
        parts = dict(zip(LISTA, (encoder.W, encoder.b, encoder.S), strict=True))
        save_torch(path / f"model{ENCODER}_best{SUFFIX}", _whole(parts))


def note(path: Path, proof: Mapping[str, Any]) -> Path:
    """Store the proof of a conversion in a separate file."""
    write_json(path / NOTE, proof)
    return path / NOTE


def _whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.contiguous().clone() for name, value in tensors.items()}


def _decoders(path: Path) -> list[Path]:
    """The checkpoints of decoders that the path stands for."""
    if path.is_dir():
        files = sorted(path.glob("*" + SUFFIX))
    elif path.suffix == SUFFIX:
        files = [path, path.with_name(path.name.replace(ENCODER, DECODER))]
    else:
        return []
    return [
        file for file in dict.fromkeys(files) if file.is_file() and names_in_torch(file) & {*LINEAR, "layer1.weight"}
    ]


def _opened(path: Path, ignore: Collection[str]) -> _OpenedEvtimova:
    """The tensors of both parts. Keys of the arguments that are not known are refused unless they are to be ignored."""
    files = _decoders(path)
    if len(files) != 1:
        names = ", ".join(str(file) for file in files) or "none"
        raise ValueError(f"{path}: expected one decoder's checkpoint; there are: {names}: name one of them")
    file = files[0]
    names = LINEAR if "decoder.weight" in names_in_torch(file) else HIDDEN
    decoder = take(unwrapped(load_torch(file), file), names, file)
    beside = file.with_name(file.name.replace(DECODER, ENCODER))
    encoder = take(unwrapped(load_torch(beside), beside), LISTA, beside) if beside != file and beside.is_file() else {}
    dtype = torch.promote_types(*(next(iter(part.values())).dtype for part in (decoder, encoder or decoder)))
    decoder, encoder = ({name: value.to(dtype) for name, value in part.items()} for part in (decoder, encoder))
    run = file.name.partition(DECODER)[0].split("_")[-2:]
    places = [file.parent / ARGUMENTS, file.parent.parent / "final" / f"{'_'.join(run)}.json"]
    there = next((place for place in places if place.is_file()), None)
    arguments = {} if there is None else read_json(there)
    check(arguments, EVTIMOVA, there or file, ignore)
    kind = "linear_dictionary" if names == LINEAR else "one_hidden_decoder"
    stated = str(arguments.get("decoder", kind)).replace(
        "linear_decoder", "linear_dictionary"
    )  # as two of the scripts call it
    if stated != kind:
        raise ValueError(f"{there}: decoder is {stated!r}, and {file.name} holds a {kind}; give files of one run")
    return _OpenedEvtimova(decoder, encoder, arguments, there or file)


def _iterations(arguments: Mapping[str, Any], file: Path) -> int:
    return get(arguments, "num_iter_LISTA", int, file) if "num_iter_LISTA" in arguments else N_ITER
