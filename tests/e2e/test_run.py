"""`fairgrid run` on a real network: good jobs, bad jobs, bad input, and Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.localnet.paths import key_folder
from tests.e2e.network import Network
from tests.runtime.modules import command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

GOOD = """
import os, random, sys
text = open(os.path.join(os.environ["IEXEC_IN"], "däta 1.csv")).read()
os.makedirs(os.path.join(os.environ["IEXEC_OUT"], "sub"))
with open(os.path.join(os.environ["IEXEC_OUT"], "sub", "answer.txt"), "w") as file:
    file.write(f"{len(text)} {sys.argv[1:]} {random.random()}")
print("done \\x1b[31mred\\x1b[0m")
print("to stderr", file=sys.stderr)
"""


def test_script_with_input_and_arguments_comes_back_verified(network: Network) -> None:
    (network.scratch / "däta 1.csv").write_text("a,b\n1,2\n")
    script = network.script("good.py", GOOD)
    answer = network.fairgrid(
        "run", script, "--input", "däta 1.csv", "--arg", "x", "--arg=-y z", "--trust", "0.7", "--out", "out", "--json"
    )
    assert answer.code == 0, answer.stderr
    document = answer.document
    assert document["status"] == "ok"
    assert document["files"] == ["stderr.txt", "stdout.txt", "sub/answer.txt"]
    assert (network.scratch / "out" / "sub" / "answer.txt").read_text().startswith("8 ['x', '-y z'] 0.")
    assert document["trust"] == 4
    assert sum(line["agreed"] for line in document["contributions"]) == 2
    assert sum(line["net"] for line in document["payments"]) == 0
    assert document["gas"]["total"] > 0
    why = network.fairgrid("task", "why", document["dealId"], "--json").document
    assert (why["state"], why["lockedNrlc"], why["taskId"]) == ("done", 0, document["taskIds"][0])
    logs = network.fairgrid("task", "logs", document["dealId"])
    assert logs.code == 0 and logs.stdout == "done red\n" and "to stderr\n" in logs.stderr


def test_a_webassembly_module_comes_back_verified_and_its_trap_is_agreed(network: Network) -> None:
    hello = command(
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))",
        imports='(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))',
        more='(data (i32.const 0) "\\20\\00\\00\\00\\03\\00\\00\\00") (data (i32.const 32) "hi\\n")',
    )
    for name, program, code in (("hello.wasm", hello, 0), ("traps.wasm", command("unreachable"), 1)):
        (network.scratch / name).write_bytes(program)
        answer = network.fairgrid("run", name, "--trust", "0.7", "--out", f"out-{name}", "--json")
        assert answer.code == code, answer.stderr
        assert sum(line["agreed"] for line in answer.document["contributions"]) == 2
    assert (network.scratch / "out-hello.wasm" / "stdout.txt").read_text() == "hi\n"
    assert answer.document["jobError"]["exitCode"] == 134


def test_what_a_job_prints_is_shown_without_its_terminal_escapes(network: Network) -> None:
    script = network.script("colour.py", "print('a\\x1b[31mb\\x1b]0;title\\x07c')")
    answer = network.fairgrid("run", script, "--trust", "0", "--out", "out")
    assert answer.code == 0, answer.stderr
    assert "\x1b" not in answer.stdout
    assert "abc" in answer.stdout


def test_workers_at_least_makes_that_many_agree(network: Network) -> None:
    script = network.script("three.py", "print(3)")
    answer = network.fairgrid("run", script, "--trust", "0", "--workers-at-least", "3", "--out", "out", "--json")
    assert answer.code == 0, answer.stderr
    assert sum(line["agreed"] for line in answer.document["contributions"]) >= 3


@pytest.mark.parametrize(
    ("name", "text", "options", "kind"),
    [
        ("raises", "raise ValueError('mend me')", [], "exit"),
        ("loops", "while True: pass", ["--fuel", "500000000"], "fuel"),
        ("eats memory", "x = bytearray(900_000_000)", ["--memory", "64M"], None),
        (
            "writes too much",
            "import os\nopen(os.environ['IEXEC_OUT'] + '/big', 'wb').write(bytes(5_000_000))",
            ["--output-limit", "1M"],
            "outputBytes",
        ),
        ("reads what it was not given", "open('/etc/passwd').read()", [], "exit"),
    ],
)
def test_job_that_fails_is_a_result_that_workers_agree_on(
    network: Network, name: str, text: str, options: list[str], kind: str | None
) -> None:
    script = network.script("bad.py", text)
    answer = network.fairgrid("run", script, "--trust", "0.5", "--out", "out", "--json", *options)
    assert answer.code == 1, f"{name}: {answer.stdout} {answer.stderr}"
    error = answer.document["jobError"]
    assert error["kind"] in ({kind} if kind else {"memory", "exit"})
    assert answer.document["files"] == ["error.json"]


def test_traceback_of_a_script_is_shown_to_its_author(network: Network) -> None:
    script = network.script("typo.py", "def f():\n    return undefined_name\nf()\n")
    answer = network.fairgrid("run", script, "--trust", "0", "--out", "out")
    assert answer.code == 1
    assert "NameError: name 'undefined_name' is not defined" in answer.stderr
    assert "typo.py" in answer.stderr


def test_flood_of_output_is_cut_and_the_job_still_succeeds(network: Network) -> None:
    script = network.script("flood.py", "line = 'x' * 1023\nfor _ in range(4000): print(line)")
    answer = network.fairgrid("run", script, "--trust", "0", "--out", "out", "--json")
    assert answer.code == 0, answer.stderr
    size = (network.scratch / "out" / "stdout.txt").stat().st_size
    assert 1 << 20 <= size < (1 << 20) + 1000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.py"], 2, "nowhere.py"),
        (["ok.py", "--input", "nowhere.csv"], 2, "nowhere.csv"),
        (["ok.py", "--input", "."], 2, "not a file"),
        (["ok.py", "--trust", "1"], 2, "below 1"),
        (["ok.py", "--trust", "high"], 2, "not a number"),
        (["ok.py", "--memory", "lots"], 2, "not a size"),
        (["ok.py", "--trust", "0.9999"], 3, "cannot reach trust 10000"),
        (["ok.py", "--workers-at-least", "30"], 3, "cannot reach trust"),
    ],
)
def test_bad_request_costs_nothing_and_says_why(network: Network, arguments: list[str], code: int, says: str) -> None:
    network.script("ok.py", "print(1)")
    before = _escrow(network)
    answer = network.fairgrid("run", *arguments, "--json")
    assert (answer.code, answer.document["exitCode"]) == (code, code)
    assert says in answer.document["message"]
    assert _escrow(network) == before


def test_input_larger_than_workers_take_is_refused_before_paying(network: Network) -> None:
    script = network.script("ok.py", "print(1)")
    with open(network.scratch / "huge.bin", "wb") as file:
        file.truncate(3 << 30)
    before = _escrow(network)
    answer = network.fairgrid("run", script, "--input", "huge.bin", "--json")
    assert answer.code == 2
    assert "workers take at most" in answer.document["message"]
    assert _escrow(network) == before


def test_requester_without_rlc_is_told_what_is_missing(network: Network, tmp_path: Path) -> None:
    script = network.script("ok.py", "print(1)")
    answer = network.fairgrid("run", script, "--trust", "0", "--key-folder", tmp_path / "poor", "--json")
    assert answer.code == 3
    assert "nRLC more" in answer.document["message"]


def test_requester_without_gas_is_told_so(network: Network, tmp_path: Path) -> None:
    from fairgrid.chain import calls
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.wallet.keystore import open_or_create_key

    poor = open_or_create_key(tmp_path / "no-gas")

    async def give_rlc() -> None:
        async with await JsonRpcChain.connect(network.local.network) as chain:
            call = calls.transfer(network.local.network.rlc, poor.address, 10**9)
            await chain.transact(call, network.local.accounts["requester"])

    network.wait(give_rlc())
    script = network.script("ok.py", "print(1)")
    answer = network.fairgrid("run", script, "--trust", "0", "--key-folder", tmp_path / "no-gas", "--json")
    assert answer.code == 3
    assert "gas" in answer.document["message"]


def test_ctrl_c_before_the_deal_costs_nothing(network: Network) -> None:
    script = network.script("ok.py", "print(1)")
    before = _escrow(network)
    answer = network.interrupted("run", script, "--trust", "0", when="preparing")
    assert answer.code == 130
    assert _escrow(network) == before


@pytest.mark.parametrize("when", ["matching", "computing"])
def test_ctrl_c_after_the_deal_keeps_the_result_for_later(network: Network, when: str) -> None:
    """For Ctrl-C while the workers reveal see `test_liars.py`."""
    script = network.script("later.py", "sum(range(50_000_000))\nprint('kept')")  # seconds: time enough for Ctrl-C
    answer = network.interrupted("run", script, "--trust", "0.5", when=when)
    assert answer.code == 130, answer.stderr
    assert "`fairgrid result 0x" in answer.stderr and "`fairgrid claim 0x" in answer.stderr
    fetched = network.fairgrid("result", "last", "--out", "later")
    assert fetched.code == 0, fetched.stderr
    assert "kept" in fetched.stdout
    assert (network.scratch / "later" / "stdout.txt").read_text() == "kept\n"


def test_claim_before_the_deadline_is_refused(network: Network) -> None:
    network.interrupted("run", network.script("ok.py", "print(1)"), "--trust", "0", when="computing")
    answer = network.fairgrid("claim", "last", "--json")
    assert answer.code == 2
    assert "deadline" in answer.document["message"] or "is over" in answer.document["message"]


def test_story_tells_what_happened_to_a_task(network: Network) -> None:
    done = network.fairgrid("run", network.script("ok.py", "print(1)"), "--trust", "0", "--out", "out", "--json")
    story = network.fairgrid("story", done.document["taskIds"][0])
    assert story.code == 0, story.stderr
    assert "finalize" in (story.stdout + story.stderr).lower()


def test_requesters_key_lies_in_the_networks_folder(network: Network) -> None:
    assert (key_folder(network.local.folder.path, "requester") / "keystore.json").is_file()


def _escrow(network: Network) -> tuple[int, int]:
    from fairgrid.chain.client import JsonRpcChain

    async def read() -> tuple[int, int]:
        async with await JsonRpcChain.connect(network.local.network) as chain:
            account = await chain.view_account(network.local.accounts["requester"].address)
            return account.stake, account.locked

    return network.wait(read())
