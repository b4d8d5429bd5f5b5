"""Compiles a program to machine code: what :func:`walk.walk` interprets, this runs about five times as fast.

The checks are the same, and tests hold the two against each other over the corpus and over mutants.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache, partial
from typing import Final

import llvmlite.binding as llvm
import numba
import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.xdr import code_cache
from stellar_arrow_source.xdr import walk as kernel
from stellar_arrow_source.xdr.plan import Program
from stellar_arrow_source.xdr.translate import Translation

FAULT_WORDS: Final = 3 + kernel.DEPTH
"""int64 words of a fault: status, word, number of callers, then the callers' instructions from the innermost."""


class NativeWalk:
    """The machine code of one program; it lives as long as this object.

    Raises:
        RuntimeError: LLVM refuses the code that was generated: a fault of this module.
    """

    def __init__(self, program: Program) -> None:
        self._engine = _compile("".join(Translation(program).text()))
        address = self._engine.get_function_address("walk")
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        # ctypes releases the interpreter lock during the call
        prototype = ctypes.CFUNCTYPE(number, pointer, number, number, pointer, pointer, pointer, pointer, number)
        self._function = prototype(address)
        self._relations = len(program.relations)

    def walk(
        self,
        words: NDArray[np.uint32],
        begin: int,
        end: int,
        arena: NDArray[np.int32],
        rows: NDArray[np.int64],
        tables: NDArray[np.int64],
        fault: NDArray[np.int64],
        ledger: int,
    ) -> int:
        """Walk one ledger, ``words[begin:end]``.

        Args:
            arena: int32, the rows of all relations.
            rows: int64, rows of each relation so far (in and out).
            tables: int64, for each relation: where its rows begin in the arena, its capacity; then scratch.
            fault: int64 (FAULT_WORDS,), filled when the result is not 0.
            ledger: what to store as the parent of top-level rows.

        Returns:
            the status, as :func:`walk.walk` gives it.
        """
        status: int = self._function(
            words.ctypes.data, begin, end, arena.ctypes.data, rows.ctypes.data, tables.ctypes.data,
            fault.ctypes.data, ledger,
        )  # fmt: skip
        return status


@lru_cache(maxsize=256)
def native_walk(program: Program) -> NativeWalk | None:
    """The machine code of ``program``; None where kernels are to be interpreted or checked, as numba is told to."""
    if numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK:
        return None
    return NativeWalk(program)


def _compile(text: str) -> llvm.ExecutionEngine:
    """Compile LLVM assembly, or take the code from the cache of an earlier process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = code_cache.processor()
    target = partial(llvm.Target.from_default_triple().create_target_machine, cpu, features, opt=1, jit=True)
    code = code_cache.load(text, cpu, features)
    if code is None:
        code = _machine_code(text, target())
        code_cache.store(text, cpu, features, code)
    # an empty module, as one with the text keeps some five megabytes of LLVM's objects in memory
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _machine_code(text: str, machine: llvm.TargetMachine) -> bytes:
    module = llvm.parse_assembly(text)
    module.verify()
    # levels 2 and 2 take 1.4 times as long and give the same speed
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code
