"""What a newcomer mistypes is answered with what is wrong and what to write, in one sentence or two."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import Shell

ADDRESS = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("FAIRGRID_HOME", "FAIRGRID_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("FAIRGRID_NETWORK", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("job.py").write_text("print(1)")
    Path("object.json").write_text("{}")
    Path("list.json").write_text("[]")
    Path("folder").mkdir()
    return Shell(capsys, tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run gone.py", "There is no script gone.py. Nothing was signed"),
        ("run job.py --input gone.csv", "There is no input gone.csv. Nothing was signed"),
        ("run job.py --gpus many", "Give one such as 1, 2:16G"),
        ("run folder", "Name a runtime with --runtime"),
        ("run job.py --network object.json", "lacks the key 'name'"),
        ("run job.py --network list.json", "is no JSON object"),
        ("run job.py", "Start one with `fairgrid up`, or name another with --network"),
        ("result 0x12 --network nowhere", "There is no network 'nowhere'"),
        ("claim last", "Start one with `fairgrid up`"),
        ("account transfer 0x12 1 RLC", "'0x12' is no address: write 0x and 40 hexadecimal digits."),
        (f"account transfer {ADDRESS.replace('f', 'F')} 1 RLC", "(is a digit mistyped?)"),
        ("account deposit 1 --as somebody --wallet nobody", "There is no network"),
        (f"order sign app {ADDRESS} --price 5", "with its unit, such as '0.5 RLC'"),
        (f"order sign app {ADDRESS} --params x", "An order of kind app has no --params. Nothing was signed."),
        ("order publish object.json", "is no order. `fairgrid order sign --out FILE` writes one."),
        ("dataset register rain --file folder", "folder cannot be read"),
        ("dataset register rain", "Name its content: --file FILE"),
        ("group create", "Missing argument"),
        ("group add 0x12 0x34", "'0x34' is no address"),
        ("app check job.py --only nothing", "No condition is named nothing. There are "),
        ("app publish folder", "has no app.toml"),
        ("app unlist 0x12", "'0x12' is no address"),
        ("network add test ftp://grid", "neither the http(s) address of a pool nor a network file"),
        ("worker pause", "There is no worker in"),
        ("worker repay --sponsor 0x12 --deposit-tx 0x1", "'0x12' is no address"),
        (f"worker repay --sponsor {ADDRESS} --deposit-tx 0x1", "is no transaction"),
        ("pool offer --network object.json --dir folder --price 5", "There is no key of a pool in folder"),
        ("pool init --network object.json --dir new --price 5", "lacks the key"),
        ("consumer init new --language cobol", "there are vyper, solidity"),
        ("story 0x12", "give 0x and 64 hexadecimal digits"),
        ("funds --of me", "'me' is no address"),
    ],
)
def test_wrong_input_says_what_is_wrong_and_what_to_write(shell: Shell, line: str, says: str) -> None:
    assert says in shell(*line.split(), code=2)["message"]
