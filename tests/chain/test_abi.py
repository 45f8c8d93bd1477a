from __future__ import annotations

import pytest

from fairgrid.chain import calls
from fairgrid.chain.abi import contract_abi
from fairgrid.chain.decode import NO_DATA, decode_log, revert_reason
from fairgrid.chain.interface import Call
from fairgrid.errors import OrderError, UsageError
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder

WORKER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TASK = "0x" + "ab" * 32


def a_request() -> RequestOrder:
    return RequestOrder(
        app=WORKER, appmaxprice=1, dataset=ZERO_ADDRESS, datasetmaxprice=0, workerpool=ZERO_ADDRESS,
        workerpoolmaxprice=2, requester=WORKER, volume=1, tag=ZERO32, category=0, trust=1, beneficiary=WORKER,
        callback=ZERO_ADDRESS, params="{}", salt=ZERO32,
    )  # fmt: skip


def an_app_order() -> AppOrder:
    return AppOrder(
        app=WORKER, appprice=0, volume=1, tag=ZERO32, datasetrestrict=ZERO_ADDRESS, workerpoolrestrict=ZERO_ADDRESS,
        requesterrestrict=ZERO_ADDRESS, salt=ZERO32, sign="0x" + "11" * 65,
    )  # fmt: skip


def a_workerpool_order() -> WorkerpoolOrder:
    return WorkerpoolOrder(
        workerpool=WORKER, workerpoolprice=1, volume=1, tag=ZERO32, category=0, trust=10, apprestrict=ZERO_ADDRESS,
        datasetrestrict=ZERO_ADDRESS, requesterrestrict=ZERO_ADDRESS, salt=ZERO32,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("call", "selector"),
    [
        (calls.match_orders(WORKER, an_app_order(), NULL_DATASET_ORDER, a_workerpool_order(), a_request()), "156194d4"),
        (calls.manage_order(WORKER, an_app_order(), calls.SIGN), "b2b07e66"),
        (calls.manage_order(WORKER, NULL_DATASET_ORDER, calls.CLOSE), "4b747106"),
        (calls.manage_order(WORKER, a_workerpool_order(), calls.SIGN), "7e34a077"),
        (calls.manage_order(WORKER, a_request(), calls.CLOSE, "0x" + "22" * 65), "8dd971d5"),
        (calls.initialize(WORKER, TASK, 0), "5b36c66b"),
        (calls.contribute(WORKER, TASK, TASK, TASK, "0x" + "11" * 65), "34623484"),
        (calls.reveal(WORKER, TASK, TASK), "fc334e8c"),
        (calls.reopen(WORKER, TASK), "f6c68e10"),
        (calls.finalize(WORKER, TASK, b"{}"), "8fc375e5"),
        (calls.claim(WORKER, TASK), "bd66528a"),
        (calls.deposit(WORKER, 1), "b6b55f25"),
        (calls.deposit_for(WORKER, 1, WORKER), "36efd16f"),
        (calls.withdraw(WORKER, 1), "2e1a7d4d"),
        (calls.withdraw_to(WORKER, 1, WORKER), "c86283c8"),
        (calls.approve(WORKER, WORKER, 1), "095ea7b3"),
        (calls.approve_and_call(WORKER, WORKER, 1), "cae9ca51"),
        (calls.transfer(WORKER, WORKER, 1), "a9059cbb"),
        (calls.create_category(WORKER, "XS", '""', 300), "298503d9"),
        (calls.create_app(WORKER, WORKER, "a", "WASM", b"/ipfs/b", TASK), "3f7868ff"),
        (calls.create_dataset(WORKER, WORKER, "a", b"/ipfs/b", TASK), "3354bcdb"),
        (calls.create_workerpool(WORKER, WORKER, "a pool"), "e40238f4"),
        (calls.change_policy(WORKER, stake_ratio=30, scheduler_ratio=1), "f199413c"),
    ],
)
def test_every_call_has_the_selector_of_the_specification(call: Call, selector: str) -> None:
    assert contract_abi(call.contract).encode_call(call.function, call.arguments).hex()[:8] == selector


def test_an_unknown_operation_on_an_order_is_refused() -> None:
    with pytest.raises(OrderError, match="no operation 2"):
        calls.manage_order(WORKER, an_app_order(), 2)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("nonsense", (), "has no function nonsense"),
        ("reveal", (TASK,), r"takes 2 argument\(s\), not 1"),
        ("reveal", ("0x12", TASK), r"arguments of reveal\(bytes32,bytes32\) do not fit"),
        ("viewAccount", ("0x1234",), "not an address"),
        ("deposit", (-1,), "do not fit"),
        ("deposit", ("much",), "do not fit"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(function: str, arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        contract_abi("hub").encode_call(function, arguments)


def test_an_unknown_contract_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="its name is one of rlc, hub"):
        contract_abi("nonsense")


def test_answers_come_in_the_forms_of_this_package() -> None:
    account = contract_abi("hub").decode_answer("viewAccount", bytes(31) + b"\x05" + bytes(31) + b"\x07")
    assert account == ((5, 7),)
    owner = contract_abi("hub").decode_answer("owner", bytes(12) + bytes.fromhex(WORKER[2:]))
    assert owner == (WORKER,)


def test_an_answer_of_another_contract_is_refused() -> None:
    with pytest.raises(UsageError, match="Is another contract at that address"):
        contract_abi("hub").decode_answer("viewAccount", b"")


def log(topics: list[str], data: str) -> dict[str, object]:
    return {
        "address": WORKER.lower(), "topics": topics, "data": data, "blockNumber": "0x10", "blockHash": TASK,
        "logIndex": "0x2", "transactionHash": "0x" + "cd" * 32,
    }  # fmt: skip


def word(address: str) -> str:
    return "0x" + "00" * 12 + address[2:].lower()


def test_a_log_becomes_an_event_with_the_names_of_the_public_abi() -> None:
    contribute = "0x3fdb8d7797562d49a81078dbf7fa1771958ea452f8b13d1148383bd9506aecfb"
    event = decode_log(log([contribute, TASK, word(WORKER)], "0x" + "ee" * 32))
    assert event is not None
    assert event.name == "TaskContribute"
    assert event.arguments == {"taskid": TASK, "worker": WORKER, "hash": "0x" + "ee" * 32}
    assert (event.address, event.block_number, event.log_index, event.removed) == (WORKER, 16, 2, False)


def test_transfer_of_token_and_of_registry_are_told_apart_by_their_topics() -> None:
    transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    money = decode_log(log([transfer, word(ZERO_ADDRESS), word(WORKER)], "0x" + "00" * 31 + "09"))
    entry = decode_log(log([transfer, word(ZERO_ADDRESS), word(WORKER), "0x" + "00" * 31 + "09"], "0x"))
    assert money is not None
    assert entry is not None
    assert money.arguments == {"from": ZERO_ADDRESS, "to": WORKER, "value": 9}
    assert entry.arguments["tokenId"] == 9


def test_a_log_of_no_contract_of_ours_is_none() -> None:
    assert decode_log(log([TASK], "0x")) is None
    assert decode_log(log([], "0x")) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", NO_DATA),
        (
            "08c379a0" + "20".rjust(64, "0") + "05".rjust(64, "0") + b"iExec".hex().ljust(64, "0"),
            "iExec",
        ),
        ("4e487b71" + "11".rjust(64, "0"), "Panic(0x11)"),
        ("7e273289" + "09".rjust(64, "0"), "ERC721NonexistentToken(9)"),
        ("7e273289", "0x7e273289"),
        ("deadbeef", "0xdeadbeef"),
        ("08c379a0ff", "0x08c379a0ff"),
    ],
)
def test_revert_data_becomes_a_reason(data: str, reason: str) -> None:
    assert revert_reason(bytes.fromhex(data)) == reason
