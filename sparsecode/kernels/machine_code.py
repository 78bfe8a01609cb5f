"""Machine code in memory, called with NumPy arrays and numbers: what a compiled function needs once it is compiled.

An object file has one function, `ENTRY`, which takes the address of slots of 8 bytes, one for each argument: a number, or the
address of an array object, from which it reads pointer, shape and strides. The result goes to the slot after the last one.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

__all__ = [
    "APART",
    "ENTRY",
    "HEADER",
    "LARGE",
    "NONE",
    "NUMBERS",
    "SMALL",
    "MachineCode",
    "assembled",
    "describe",
    "slots_of",
    "target",
]

ENTRY = "sparsecode_entry"
HEADER = (
    object.__basicsize__
)  # bytes of an object in front of an array's first field: more without the interpreter lock
ROWS, COLUMNS = 0x1, 0x2  # flags of an array that is contiguous by these; one that is by both counts as the first
LAYOUT = ROWS | COLUMNS | 0x100 | 0x400  # of an array's flags: rows or columns contiguous, aligned, writeable
NONE = "-"
# Letters of numbers, as in `struct`, by their type.
NUMBERS: dict[type, str] = {
    float: "d",
    int: "q",
    bool: "?",
    np.bool_: "?",
    np.float32: "f",
    np.float64: "d",
    np.int32: "i",
    np.int64: "q",
    np.intp: "q",
}
PADDED = {"f": "f4x", "i": "i4x", "?": "?7x"}
# Attributes of functions. Small ones are first optimised by themselves, since loops that are vectorised before they become parts of
# other functions are faster; then the others, with the small ones inside.
SMALL, LARGE, APART = 'noinline "first"', 'noinline optnone "first"', 'noinline optnone "apart"'
FIRST = re.compile(r"\bnoinline (?=.*\"first\")|\boptnone ")
NEVER = "NRT_MemInfo_call_dtor"  # frees arrays that are made in a function; of ours none is


def describe(args: tuple[Any, ...], kind: list[Any], values: list[Any]) -> None:
    """Append what decides how the arguments are read to `kind`, and what stands in the slots to `values`.

    Raises TypeError for others than arrays, numbers, None and tuples of these.
    """
    for arg in args:
        which = type(arg)
        if which is np.ndarray:
            layout = arg.flags.num & LAYOUT
            kind += (arg.dtype, arg.ndim, layout & ~COLUMNS if layout & ROWS else layout)
            values.append(id(arg))
        elif (letter := NUMBERS.get(which)) is not None:
            kind.append(letter)
            values.append(arg)
        elif arg is None:  # of a type of its own: branches for it, or for others, are not compiled
            kind.append("(None)")
        elif isinstance(arg, np.ndarray):  # memory-mapped
            describe((arg.view(np.ndarray),), kind, [])
            values.append(id(arg))
        elif isinstance(arg, tuple):
            kind.append(f"({which.__name__}")
            describe(arg, kind, values)
            kind.append(")")
        else:
            raise TypeError(f"compiled functions take arrays, numbers, None and tuples of these, not {which.__name__}")


def slots_of(kind: tuple[Any, ...]) -> struct.Struct:
    """The format of the slots, for arguments of a `kind`."""
    letters: list[str] = []
    i = 0
    while i < len(kind):
        if isinstance(kind[i], np.dtype):  # with the number of axes and the layout after it
            letters.append("q")
            i += 3
        else:
            letter = str(kind[i])
            if letter[0] not in "()":
                letters.append(PADDED.get(letter, letter))
            i += 1
    return struct.Struct("=" + "".join(letters))


class MachineCode:
    """A function in memory. Of the data the first byte says what it returns, a letter of `NUMBERS` or `NONE`; the rest is an object file."""

    def __init__(self, data: bytes, kind: tuple[Any, ...]) -> None:
        _ready()
        self._engine = llvm.create_mcjit_compiler(
            llvm.parse_assembly(""), _machine()
        )  # of its own: no symbol is shared
        self._engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(data[1:]))
        self._engine.finalize_object()
        address = self._engine.get_function_address(ENTRY)
        if not address:
            raise OSError("an object file without the function")
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)
        slots = slots_of(kind)
        self._pack, self._array = slots.pack_into, ctypes.c_int64 * (slots.size // 8 + 1)
        letter = chr(data[0])
        self._result = None if letter == NONE else struct.Struct("=" + letter).unpack_from
        self._at = slots.size

    def __call__(self, values: list[Any]) -> Any:
        slots = self._array()
        self._pack(slots, 0, *values)
        if self._function(slots):
            raise ZeroDivisionError("division by zero, or a reshape to another size, in a compiled function")
        return None if self._result is None else self._result(slots, self._at)[0]


@cache
def _ready() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.add_symbol(NEVER, ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value)


def assembled(code: bytes) -> bytes:
    """What `MachineCode` takes, for the processor at hand, of LLVM's code after the letter of its result.

    Raises RuntimeError for code that this version of LLVM cannot read.
    """
    _ready()
    triple, cpu, features = target()
    machine = _machine(cpu=cpu, features=features, reloc="static" if triple.startswith("x86") else "default")
    module = _optimised(code[1:].decode(), machine, triple)
    text = re.sub(r"^attributes .*", lambda line: FIRST.sub("", line[0]), str(module), flags=re.M)
    return code[:1] + machine.emit_object(_optimised(text, machine, triple))


def _optimised(text: str, machine: Any, triple: str) -> Any:
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = triple, str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes = builder.getModulePassManager()
    passes.add_refprune_pass()
    passes.run(module, builder)
    return module


def _machine(**options: Any) -> Any:
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(opt=3, jit=True, codemodel="jitdefault", **options)


@cache
def target() -> tuple[str, str, str]:
    """The system and the processor for which machine code is made; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are another processor's."""
    cpu, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    return (
        llvm.get_process_triple(),
        llvm.get_host_cpu_name() if cpu is None else cpu,
        llvm.get_host_cpu_features().flatten() if features is None else features,
    )
