"""Compilation of functions by numba, to the code of LLVM of which `machine_code.py` makes that of the processor at hand.

Numba would also make wrappers for the interpreter and load each function, and each that it calls, into the process. Here a function
is compiled for its callers alone, and made into machine code with all that it calls once it is the one that Python calls. Its
parts are then private to it: were they not, whichever copy is loaded first would serve all, and last bits would depend on the order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any

from llvmlite import ir
from llvmlite.binding import Target, create_pass_builder, create_pipeline_tuning_options
from numba import typeof, types  # pyright: ignore[reportPrivateImportUsage]
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.np.arrayobj import populate_array

from sparsecode.kernels.machine_code import APART, ENTRY, HEADER, LARGE, NONE, SMALL

__all__ = ["Callee", "lowered"]

SLOT = ir.IntType(64)
RESULTS = {
    types.none: NONE,
    types.float64: "d",
    types.float32: "f",
    types.int64: "q",
    types.int32: "i",
    types.boolean: "?",
}
DATA, SHAPE, STRIDES = HEADER, HEADER + 16, HEADER + 24  # places of an array object's fields: NumPy's binary interface
RESHAPE = "numba_attempt_nocopy_reshape"
# of functions: the most bits of a register that their loops may use
WIDE = ' "prefer-vector-width"="512"'
SMALL_LINES, MOST_LINES = (
    60,
    200,
)  # of LLVM's code: of functions that are optimised by themselves first, and that are repeated
KNOWN = ("llvm.", "mem", "NRT_MemInfo_call_dtor", "sched_yield", "exp", "log", "pow", "sqrt")

_numbers = count()


class _Library(JITCodeLibrary):
    """Code that is linked into that of callers, and neither optimised nor loaded into the process."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = str(self._codegen.target_data)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _Compiler(Compiler):
    """Numba's compiler without what the interpreter needs."""

    def __init__(self, typing: Any, context: Any, library: Any, *rest: Any) -> None:
        super().__init__(typing, context, library, *rest)
        self.state.library = _Library(context.codegen(), f"sparsecode{next(_numbers)}")
        flags = self.state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True


class Callee(CPUDispatcher):
    """A function, to be compiled into those that call it."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        targetoptions = {"nopython": True, "nogil": True, "boundscheck": None, **options}
        super().__init__(function, targetoptions=targetoptions, pipeline_class=_Compiler)

    def add_overload(self, cres: CompileResult) -> None:
        """Make a compiled version known to callers, by its library: there is no entry point."""
        cres = cres._replace(entry_point=cres.library)
        self.targetctx.insert_user_function(cres.library, cres.fndesc, [cres.library])
        self.overloads[tuple(cres.signature.args)] = cres


@global_compiler_lock
def lowered(function: Callable[..., Any], options: dict[str, Any], args: tuple[Any, ...], wide: bool = False) -> bytes:
    """The letter of the type of the result, and LLVM's code for any processor, of `function` for arguments like these.

    Raises TypeError for results that are neither a number nor None, and for functions that call what only numba can find.
    """
    callee, kinds = Callee(function, options), tuple(typeof(arg) for arg in args)
    callee.compile(kinds)
    (cres,) = callee.overloads.values()
    result = cres.signature.return_type
    if result not in RESULTS:
        raise TypeError(f"{function.__qualname__} returns {result}; compiled functions return a number or None")
    library = cres.library
    library.add_ir_module(_entry(cres.target_context, cres))
    library.finalize()
    module = library._final_module
    for part in (*module.functions, *module.global_variables):  # all else is private to the entry
        if not part.is_declaration and part.name != ENTRY:
            part.linkage = "internal"
    _tidy(module)
    if strange := [f.name for f in module.functions if f.is_declaration and not f.name.startswith(KNOWN)]:
        raise TypeError(f"{function.__qualname__} calls {', '.join(strange)}, which are not there without numba")
    return RESULTS[result].encode() + _marked(str(module), wide).encode()


def _marked(text: str, wide: bool) -> str:
    """With the attributes that functions need, which only the text of a module can have.

    A large one is not repeated where it is called: that takes long to compile.
    """

    def mark(function: re.Match[str]) -> str:
        head, body = function[1], function[2]
        lines = body.count("\n")
        small = lines <= SMALL_LINES and ENTRY not in head
        kind = SMALL if small else LARGE if lines <= MOST_LINES else APART
        return f"{head}{WIDE if wide else ''} {kind} {{{body}"

    return re.sub(r"^(define .*) \{((?:\n.*)*?\n\})", mark, text, flags=re.M)


def _tidy(module: Any) -> None:
    """Leave out variables in memory, names and what is not called, by passes that give the same code on every processor."""
    module.name = ENTRY
    machine = Target.from_default_triple().create_target_machine()
    builder = create_pass_builder(machine, create_pipeline_tuning_options(speed_level=0))
    passes = builder.getModulePassManager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_refprune_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_symbols_pass()
    passes.run(module, builder)


def _entry(context: Any, cres: CompileResult) -> Any:
    """The function that reads the slots and calls the compiled one; it returns 0, or the code of an error."""
    module = context.create_module("entry")
    descriptor = cres.fndesc
    signature = context.call_conv.get_function_type(descriptor.restype, descriptor.argtypes)
    callee = ir.Function(module, signature, descriptor.llvm_func_name)
    entry = ir.Function(module, ir.FunctionType(ir.IntType(32), [SLOT.as_pointer()]), ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    slots = _Slots(context, builder, entry.args[0])
    args = [slots.argument(kind) for kind in descriptor.argtypes]
    status, value = context.call_conv.call_function(builder, callee, descriptor.restype, descriptor.argtypes, args)
    if descriptor.restype != types.none:
        stored = context.get_value_as_data(builder, descriptor.restype, value)
        builder.store(stored, builder.bitcast(slots.next(), stored.type.as_pointer()))
    zero = ir.Constant(ir.IntType(32), 0)
    builder.ret(builder.select(status.is_error, ir.Constant(ir.IntType(32), 1), zero))
    _define_reshape(module)
    return module


def _define_reshape(module: ir.Module) -> None:
    """What `reshape` calls of numba's own library, for arrays whose rows follow each other without gaps; 0, an error, for others."""
    code, numbers = ir.IntType(32), SLOT.as_pointer()
    kind = ir.FunctionType(code, [SLOT, numbers, numbers, SLOT, numbers, numbers, SLOT, code])
    function = ir.Function(module, kind, RESHAPE)
    n, shape, strides, n_new, new_shape, new_strides, item, _ = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    one, step = ir.Constant(SLOT, 1), cgutils.alloca_once_value(builder, item)
    with cgutils.for_range(builder, n) as loop:
        i = builder.sub(builder.sub(n, one), loop.index)
        length, stride = (builder.load(builder.gep(each, [i])) for each in (shape, strides))
        apart = builder.icmp_signed("!=", stride, builder.load(step))
        several = builder.icmp_signed(">", builder.mul(length, builder.load(step)), builder.load(step))
        with builder.if_then(builder.and_(apart, several)):
            builder.ret(ir.Constant(code, 0))
        builder.store(builder.mul(builder.load(step), length), step)
    builder.store(item, step)
    with cgutils.for_range(builder, n_new) as loop:
        i = builder.sub(builder.sub(n_new, one), loop.index)
        builder.store(builder.load(step), builder.gep(new_strides, [i]))
        builder.store(builder.mul(builder.load(step), builder.load(builder.gep(new_shape, [i]))), step)
    builder.ret(ir.Constant(code, 1))


class _Slots:
    """The slots, read one after another."""

    def __init__(self, context: Any, builder: ir.IRBuilder, first: ir.Argument) -> None:
        self._context, self._builder, self._first, self._i = context, builder, first, 0

    def next(self) -> Any:
        """The address of the next one."""
        place = self._builder.gep(self._first, [ir.Constant(SLOT, self._i)])
        self._i += 1
        return place

    def argument(self, kind: Any) -> Any:
        """The value of an argument."""
        context, builder = self._context, self._builder
        if isinstance(kind, types.Array):
            return self._array(kind)
        if isinstance(kind, types.BaseTuple):
            return context.make_tuple(builder, kind, [self.argument(each) for each in kind])
        if isinstance(kind, types.NoneType):
            return context.get_dummy_value()
        data = context.get_data_type(kind)
        loaded = builder.load(builder.bitcast(self.next(), data.as_pointer()))
        return context.data_model_manager[kind].from_data(builder, loaded)

    def _array(self, kind: Any) -> Any:
        context, builder = self._context, self._builder
        address = builder.load(self.next())

        def field(place: int) -> Any:
            here = builder.add(address, ir.Constant(SLOT, place))
            return builder.load(builder.inttoptr(here, SLOT.as_pointer()))

        def numbers(place: int) -> list[Any]:
            first = builder.inttoptr(field(place), SLOT.as_pointer())
            return [builder.load(builder.gep(first, [ir.Constant(SLOT, i)])) for i in range(kind.ndim)]

        array = context.make_array(kind)(context, builder)
        item = context.get_data_type(kind.dtype)
        populate_array(
            array,
            data=builder.inttoptr(field(DATA), item.as_pointer()),
            shape=numbers(SHAPE),
            strides=numbers(STRIDES),
            itemsize=context.get_abi_sizeof(item),
            meminfo=None,
        )
        return array._getvalue()
