"""Programs that are WebAssembly components: the rules with small ones in the text format, and a Python class."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from wasmtime.component import Component, Linker

from fairgrid.errors import UsageError
from fairgrid.runtime.catalogue import runtime_for_program, runtime_info
from fairgrid.runtime.interface import Limits, Outcome, Stop
from fairgrid.runtime.program_check import check_program
from fairgrid.runtime.wasm.component_bytes import move_bytes_fast
from fairgrid.runtime.wasm.component_calls import ComponentCalls
from fairgrid.runtime.wasm.component_files import ComponentFiles
from fairgrid.runtime.wasm.component_format import INTERFACES, component_fault
from fairgrid.runtime.wasm.component_resources import ResourceTable
from fairgrid.runtime.wasm.component_types import SIGNATURES
from fairgrid.runtime.wasm.engine import EngineClass, new_engine
from fairgrid.runtime.wasm.launch import Launch
from fairgrid.runtime.wasm.programs import CompiledPrograms
from fairgrid.runtime.wasm.runtimes import COMPONENT_RUNTIME
from fairgrid.runtime.wasm.sandbox import ModuleSandbox
from fairgrid.runtime.wasm.wasi_state import LogicalClock
from tests.needs import need
from tests.runtime.modules import command, module_job, module_sandbox

EXAMPLE = Path(__file__).parents[2] / "examples" / "python_component"
FASTA = b">one first\nACGTACGTGG\nCC\n>two\nAAAATTTT\n"


def component(body: str, *, imports: str = "", more: str = "", export: str = "wasi:cli/run@0.2.0") -> bytes:
    """A component whose command is the core function of that body, in the text format."""
    text = f"""(component {imports}
      (core module $m {more} (func (export "run") (result i32) {body}))
      (core instance $i (instantiate $m))
      (func $run (result (result)) (canon lift (core func $i "run")))
      (instance $r (export "run" (func $run)))
      (export "{export}" (instance $r)))"""
    return bytes(wasmtime.wat2wasm(text))


def component_sandbox(folder: Path) -> ModuleSandbox:
    """A sandbox whose compiled components lie in ``folder``."""
    programs = CompiledPrograms(folder, EngineClass.DETERMINISTIC, components=True)
    return ModuleSandbox(programs, COMPONENT_RUNTIME, EngineClass.DETERMINISTIC, launch=Launch.COMPONENT)


async def ran(folder: Path, program: bytes, limits: Limits | None = None) -> Outcome:
    return await component_sandbox(folder / "cache").run(module_job(folder / "job", program, limits=limits))


@pytest.mark.parametrize(("answer", "code"), [(0, 0), (1, 1)])
async def test_the_result_of_run_is_the_exit_code(tmp_path: Path, answer: int, code: int) -> None:
    outcome = await ran(tmp_path, component(f"i32.const {answer}"))
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, code), outcome


async def test_a_trap_is_exit_code_134_with_its_reason(tmp_path: Path) -> None:
    outcome = await ran(tmp_path, component("unreachable"))
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 134)
    assert b"[fairgrid: the program trapped: wasm `unreachable` instruction executed]" in outcome.stderr


async def test_an_endless_loop_stops_by_fuel(tmp_path: Path) -> None:
    outcome = await ran(tmp_path, component("(loop (br 0)) i32.const 0"), Limits(fuel=50_000_000, wall_s=50.0))
    assert (outcome.stop, outcome.fuel_used) == (Stop.FUEL, 50_000_000)


async def test_an_endless_loop_stops_by_the_wall_clock_where_fuel_lasts(tmp_path: Path) -> None:
    outcome = await ran(tmp_path, component("(loop (br 0)) i32.const 0"), Limits(fuel=10**15, wall_s=1.0))
    assert outcome.stop is Stop.WALL_CLOCK


async def test_a_memory_that_is_too_large_is_an_agreed_error(tmp_path: Path) -> None:
    outcome = await ran(
        tmp_path, component("i32.const 0", more="(memory 65)"), Limits(fuel=10**9, memory_bytes=4 << 20)
    )
    assert outcome.stop is Stop.MEMORY


async def test_a_second_memory_is_refused_because_no_limit_would_count_it(tmp_path: Path) -> None:
    more = wasmtime.wat2wasm(
        """(component
          (core module $a (memory 1))
          (core instance (instantiate $a)) (core instance (instantiate $a))
          (core module $m (func (export "run") (result i32) i32.const 0))
          (core instance $i (instantiate $m))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $r (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $r)))"""
    )
    outcome = await ran(tmp_path, bytes(more))
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 134), outcome
    assert b"more memories, tables or instances" in outcome.stderr


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"print('hello')", "it is not WebAssembly"),
        (command(""), "it is not a component: a core module runs in wasmtime-49/wasi/deterministic"),
        (component("i32.const 0", export="other:cli/run@0.2.0"), "it does not export wasi:cli/run@0.2"),
        (component("i32.const 0", export="wasi:cli/run@0.3.0"), "it does not export wasi:cli/run@0.2"),
        (
            component("i32.const 0", imports='(import "wasi:http/types@0.2.0" (instance))'),
            "it asks for wasi:http/types@0.2.0, which is not in WASI preview 2 as it is here",
        ),
        (component("i32.const 0", imports='(import "f" (func))'), "it asks for f, which is not in WASI preview 2"),
        (component("i32.const 0")[:60], "it is not a valid WebAssembly component"),
    ],
)
async def test_what_is_no_command_is_refused_in_words_that_are_the_same_everywhere(
    tmp_path: Path, program: bytes, words: str
) -> None:
    outcome = await ran(tmp_path, program)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 126)
    assert words in outcome.stderr.decode()
    (tmp_path / "it.component.wasm").write_bytes(program)
    with pytest.raises(UsageError, match="Nothing was signed"):
        check_program(tmp_path / "it.component.wasm", runtime_info(COMPONENT_RUNTIME))


def imported(interface: str, *items: str) -> bytes:
    """A component that does nothing and imports that of an interface."""
    return component("i32.const 0", imports=f'(import "wasi:{interface}@0.2.3" (instance {" ".join(items)}))')


POLLABLE = '(export "pollable" (type $p (sub resource)))'
TYPED_WRONGLY = [
    (
        imported("random/random", '(export "get-random-u64" (func (result u32)))'),
        "it asks for get-random-u64 of wasi:random/random@0.2.3, with the type ()->u32; in WASI preview 2 it is ()->",
    ),
    (
        imported("cli/environment", '(export "initial-cwd" (func (param "x" u8) (result (option string))))'),
        "initial-cwd of wasi:cli/environment@0.2.3, with the type (u8)->option<string>; in WASI preview 2 it is ()->",
    ),
    (
        imported("clocks/wall-clock", '(export "set" (func (param "x" u64)))'),
        "it asks for set of wasi:clocks/wall-clock@0.2.3, a function that WASI preview 2 has not",
    ),
    (
        imported("io/poll", '(export "socket" (type (sub resource)))'),
        "it asks for socket of wasi:io/poll@0.2.3, a resource that WASI preview 2 has not",
    ),
    (
        imported(
            "io/poll", POLLABLE, '(export "[method]pollable.ready" (func (param "self" (borrow $p)) (result u8)))'
        ),
        "with the type (borrow<pollable>)->u8; in WASI preview 2 it is (borrow<pollable>)->bool",
    ),
    (
        imported("io/poll", '(export "more" (instance))'),
        "it asks for more of wasi:io/poll@0.2.3, which is neither a function nor a type",
    ),
]


@pytest.mark.parametrize(("program", "words"), TYPED_WRONGLY)
async def test_an_import_that_is_not_what_wasi_says_is_refused_by_its_name(
    tmp_path: Path, program: bytes, words: str
) -> None:
    assert component_fault(program) is None, "what only the engine can tell"
    outcome = await ran(tmp_path, program)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 126), outcome
    assert words in outcome.stderr.decode()


async def test_a_command_whose_run_gives_something_else_is_refused(tmp_path: Path) -> None:
    program = bytes(
        wasmtime.wat2wasm(
            """(component
              (core module $m (func (export "run") (result i32) i32.const 0))
              (core instance $i (instantiate $m))
              (func $run (result u32) (canon lift (core func $i "run")))
              (instance $r (export "run" (func $run)))
              (export "wasi:cli/run@0.2.0" (instance $r)))"""
        )
    )
    outcome = await ran(tmp_path, program)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 126), outcome
    assert b"the run of its wasi:cli/run@0.2.0 has the type ()->u32, not ()->result<_,_>" in outcome.stderr


async def test_imports_that_are_as_wasi_says_are_taken_used_or_not(tmp_path: Path) -> None:
    items = (POLLABLE, '(export "[method]pollable.ready" (func (param "self" (borrow $p)) (result bool)))')
    assert (await ran(tmp_path, imported("io/poll", *items))).exit_code == 0


def test_every_call_that_is_answered_has_its_type_in_the_table_and_only_splicing_is_missing() -> None:
    table, clock = ResourceTable(), LogicalClock()
    given: Any = None
    files = ComponentFiles(table=table, tree=given, handles=given, clock=clock, charge=given, moved=None, removed=None)
    calls = ComponentCalls(
        table=table,
        charge=given,
        files=files,
        clock=clock,
        random=given,
        streams=given,
        arguments=[],
        environment={},
    ).functions()
    answered = {(interface, name) for interface, functions in calls.items() for name in functions}
    known = {(interface, name) for interface, functions in SIGNATURES.items() for name in functions}
    splicing = {("wasi:io/streams", f"[method]output-stream.{name}") for name in ("splice", "blocking-splice")}
    assert known - answered == splicing and answered <= known
    assert {interface for interface, _ in known} <= INTERFACES


async def test_bytes_that_only_look_like_a_component_are_refused_by_the_engine(tmp_path: Path) -> None:
    program = component("i32.const 0").replace(b"\x41\x00\x0b", b"\x42\x00\x0b")
    assert component_fault(program) is None
    outcome = await ran(tmp_path, program)
    assert (outcome.exit_code, b"not a valid WebAssembly" in outcome.stderr) == (126, True)


async def test_a_component_is_none_of_the_programs_of_the_runtime_for_modules(tmp_path: Path) -> None:
    job = module_job(tmp_path / "job", component("i32.const 0"))
    outcome = await module_sandbox(tmp_path / "cache").run(job)
    assert outcome.exit_code == 126 and b"wasmtime-49/component/deterministic" in outcome.stderr


def test_the_ending_component_wasm_means_the_runtime_for_components() -> None:
    assert runtime_for_program(Path("x.component.wasm")).runtime_id == COMPONENT_RUNTIME
    assert runtime_for_program(Path("x.wasm")).runtime_id != COMPONENT_RUNTIME


def test_bytes_pass_unchanged_in_both_directions() -> None:
    move_bytes_fast()
    engine = new_engine()
    store = wasmtime.Store(engine)
    store.set_fuel(10**9)
    store.set_epoch_deadline(1)
    text = """(component
      (core module $m (memory (export "memory") 2)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "echo") (param i32 i32) (result i32)
          (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) i32.const 16))
      (core instance $i (instantiate $m))
      (func (export "echo") (param "x" (list u8)) (result (list u8))
        (canon lift (core func $i "echo") (memory $i "memory") (realloc (func $i "realloc")))))"""
    instance = Linker(engine).instantiate(store, Component(engine, wasmtime.wat2wasm(text)))
    echo = instance.get_func(store, "echo")
    assert echo is not None
    for data in (b"", b"\0", bytes(range(256)) * 200):
        assert echo(store, data) == data
        echo.post_return(store)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The example, built as its page says."""
    tool = Path(sys.executable).with_name("componentize-py")
    need(tool.exists(), "componentize-py: it is among the packages of the group dev")
    target = tmp_path_factory.mktemp("component") / "gc_content.component.wasm"
    command = [str(tool), "-d", "wit", "-w", "program", "componentize", "gc_content", "-o", str(target)]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return target.read_bytes()


@pytest.mark.timeout(600, func_only=True)
async def test_a_python_class_reads_writes_and_agrees_with_itself_and_follows_the_seed(
    example: bytes, tmp_path: Path
) -> None:
    assert component_fault(example) is None
    sandbox = component_sandbox(tmp_path / "cache")
    limits = Limits(fuel=50_000_000_000, wall_s=300.0)
    found: list[tuple[bytes, int]] = []
    for number in range(3):
        job = module_job(tmp_path / str(number), example, arguments=("50",), inputs={"genes.fa": FASTA}, limits=limits)
        if number == 2:
            object.__setattr__(job, "seed", bytes(32))
        outcome = await sandbox.run(job)
        assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome
        assert outcome.stdout == b"wrote /iexec_out/gc_content.csv\n" and outcome.stderr == b""
        found.append(((job.output_folder / "gc_content.csv").read_bytes(), outcome.fuel_used))
    assert found[0] == found[1] != found[2]
    rows = list(csv.reader(found[0][0].decode().splitlines()))
    assert [row[:3] for row in rows[1:]] == [["one", "12", "0.6667"], ["two", "8", "0.0000"]]
