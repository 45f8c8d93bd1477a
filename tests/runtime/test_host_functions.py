"""Functions of ours that a module calls: values, faults, and who answers; and the fuel and memory of its store."""

from __future__ import annotations

import ctypes

import pytest
import wasmtime

from fairgrid.runtime.wasm.engine import EngineClass, new_engine
from fairgrid.runtime.wasm.host_functions import Answer, HostFunctions
from fairgrid.runtime.wasm.store_values import FuelExhausted, FuelMeter, MemoryPlace

FUEL = 1_000_000
ADDS = """(module
  (import "host" "add" (func $add (param i32 i64) (result i32)))
  (import "host" "note" (func $note (param i64)))
  (memory (export "memory") 1)
  (func (export "grow") (drop (memory.grow (i32.const 2))))
  (func (export "run") (result i32)
    (call $note (i64.const -1))
    (call $add (i32.const -2) (i64.const 5))))"""
TWICE = """(module
  (import "host" "note" (func $one (param i64))) (import "host" "note" (func $other (param i64)))
  (func (export "run") (call $one (i64.const 1)) (call $other (i64.const 2))))"""
TRAPS = '(module (import "host" "note" (func (param i64))) (func (export "run") unreachable))'
STARTS = '(module (import "host" "note" (func $note (param i64))) (func $s (call $note (i64.const 7))) (start $s))'


class Given:
    """Answers that keep what they were given."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, module: str, name: str) -> Answer:
        def note(*values: int) -> None:
            self.seen.append(values)
            if self.failure is not None:
                raise self.failure

        def add(*values: int) -> int:
            self.seen.append(values)
            return sum(values)

        assert module == "host"
        return {"add": add, "note": note}[name]


def functions_of(text: str) -> tuple[HostFunctions, wasmtime.Store]:
    engine = new_engine(EngineClass.DETERMINISTIC)
    store = wasmtime.Store(engine)
    store.set_epoch_deadline(1)
    FuelMeter(store).set(FUEL)
    return HostFunctions(engine, wasmtime.Module(engine, wasmtime.wat2wasm(text))), store


def run(functions: HostFunctions, store: wasmtime.Store, given: Given) -> object:
    with functions.answered_by(given):
        return functions.instantiate(store).exports(store)["run"](store)


def test_numbers_arrive_unsigned_and_the_result_goes_back() -> None:
    given = Given()
    assert run(*functions_of(ADDS), given) == 3
    assert given.seen == [((1 << 64) - 1,), ((1 << 32) - 2, 5)]


def test_an_exception_leaves_as_it_was_raised() -> None:
    failure = KeyboardInterrupt("now")
    with pytest.raises(KeyboardInterrupt) as raised:
        run(*functions_of(ADDS), Given(failure))
    assert raised.value is failure


def test_an_exception_in_a_start_function_leaves_too() -> None:
    functions, store = functions_of(STARTS)
    failure = LookupError("start")
    with pytest.raises(LookupError) as raised, functions.answered_by(Given(failure)):
        functions.instantiate(store)
    assert raised.value is failure


def test_a_trap_of_the_module_stays_one() -> None:
    with pytest.raises(wasmtime.Trap, match="unreachable"):
        run(*functions_of(TRAPS), Given())


def test_a_failure_is_not_raised_again_in_the_next_run() -> None:
    functions, store = functions_of(ADDS)
    with pytest.raises(LookupError):
        run(functions, store, Given(LookupError()))
    given = Given()
    assert run(functions, store, given) == 3
    assert len(given.seen) == 2


def test_one_import_that_is_named_twice_is_answered_twice() -> None:
    given = Given()
    run(*functions_of(TWICE), given)
    assert given.seen == [(1,), (2,)]


def test_fuel_is_taken_exactly_and_ends_at_nothing() -> None:
    _, store = functions_of(TRAPS)
    meter = FuelMeter(store)
    meter.charge(FUEL - 1)
    assert (meter.left(), store.get_fuel()) == (1, 1)
    with pytest.raises(FuelExhausted):
        meter.charge(2)
    assert (meter.left(), store.get_fuel()) == (0, 0)


def test_fuel_of_an_engine_that_is_not_metered_is_an_error() -> None:
    store = wasmtime.Store(new_engine(EngineClass.FAST))
    with pytest.raises(wasmtime.WasmtimeError, match="fuel"):
        FuelMeter(store).charge(1)


def test_the_place_of_a_memory_follows_its_growth() -> None:
    functions, store = functions_of(ADDS)
    with functions.answered_by(Given()):
        exports = functions.instantiate(store).exports(store)
    memory = exports["memory"]
    place = MemoryPlace(store, memory)
    before = place.now()
    exports["grow"](store)
    assert (before[1], place.now()[1]) == (1 << 16, 3 << 16)
    assert place.now()[0] == ctypes.addressof(memory.data_ptr(store).contents)
