from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import UsageError
from fairgrid.wallet.keys import DEV_MNEMONIC, KeySigner, dev_signer
from fairgrid.wallet.signer import Signer

FIXTURES = Path(__file__).parent / "fixtures"
DOCUMENTS: dict[str, Any] = json.loads((FIXTURES / "td.json").read_text())
REFERENCE: dict[str, dict[str, str]] = json.loads((FIXTURES / "ref.json").read_text())
TRANSFER: dict[str, Any] = {
    "chainId": 31337,
    "nonce": 7,
    "gas": 21_000,
    "maxFeePerGas": 2_000_000_000,
    "maxPriorityFeePerGas": 1,
    "to": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "value": 5,
    "data": "0x",
}


def test_key_signer_satisfies_the_signer_seam() -> None:
    signer: Signer = dev_signer(0)
    assert signer.address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.mark.parametrize(
    ("index", "address"),
    [
        (1, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        (9, "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
        (2, "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    ],
)
def test_dev_signers_are_the_accounts_that_anvil_funds(index: int, address: str) -> None:
    assert dev_signer(index).address == address


@pytest.mark.parametrize("index", [-1, 2**31])
def test_a_dev_index_that_no_account_has_is_refused(index: int) -> None:
    with pytest.raises(UsageError, match="counts from 0"):
        dev_signer(index)


def test_dev_keys_are_those_that_eth_account_derives() -> None:
    Account.enable_unaudited_hdwallet_features()
    for index in (0, 7, 1_000_003):
        oracle = Account.from_mnemonic(DEV_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
        assert dev_signer(index).private_key == bytes(oracle.key)


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_typed_data_signature_equals_the_reference_signers_bytes(name: str) -> None:
    assert dev_signer(0).sign_typed_data(DOCUMENTS[name]) == "0x" + REFERENCE[name]["sig"]


@pytest.mark.parametrize("document", [{}, {"types": {}, "primaryType": "A", "domain": {}, "message": {}}])
def test_a_document_that_is_not_typed_data_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be signed"):
        dev_signer(0).sign_typed_data(document)


def test_message_signature_recovers_to_the_signer_and_to_nobody_for_another_message() -> None:
    signer = KeySigner.generate()
    signature = signer.sign_message(b"\x01" * 32)
    assert len(bytes.fromhex(signature[2:])) == 65
    assert Account.recover_message(encode_defunct(primitive=b"\x01" * 32), signature=signature) == signer.address
    assert Account.recover_message(encode_defunct(primitive=b"\x02" * 32), signature=signature) != signer.address


def test_transaction_is_eip1559_and_recovers_to_the_signer() -> None:
    raw = dev_signer(3).sign_transaction(TRANSFER)
    assert raw[0] == 2
    assert Account.recover_transaction(raw) == dev_signer(3).address
    assert raw == dev_signer(3).sign_transaction(TRANSFER), "the same transaction gives the same bytes"


@given(
    nonce=st.integers(0, 2**64 - 1),
    fee=st.integers(0, 2**128),
    gas=st.integers(21_000, 30_000_000),
    value=st.integers(0, 2**200),
    data=st.binary(max_size=300),
    to=st.one_of(st.none(), st.integers(0, 9)),
    chain_id=st.integers(1, 2**53),
)
def test_transactions_are_byte_equal_to_those_of_eth_account(
    nonce: int, fee: int, gas: int, value: int, data: bytes, to: int | None, chain_id: int
) -> None:
    fields: dict[str, Any] = {"chainId": chain_id, "nonce": nonce, "gas": gas, "value": value, "data": data}
    fields |= {"maxFeePerGas": fee, "maxPriorityFeePerGas": fee // 2}
    if to is not None:
        fields["to"] = dev_signer(to).address
    oracle = Account.from_key(dev_signer(1).private_key).sign_transaction({"type": 2, **fields})
    assert dev_signer(1).sign_transaction(fields) == bytes(oracle.raw_transaction)


@given(message=st.binary(max_size=200), key=st.binary(min_size=32, max_size=32).filter(lambda key: any(key[1:])))
def test_message_signatures_are_byte_equal_to_those_of_eth_account(message: bytes, key: bytes) -> None:
    key = b"\x7f" + key[1:]
    oracle = Account.from_key(key)
    assert KeySigner(key).address == oracle.address
    signed = oracle.sign_message(encode_defunct(primitive=message))
    assert KeySigner(key).sign_message(message) == "0x" + bytes(signed.signature).hex()


def test_documents_that_fairgrid_does_not_make_are_signed_too() -> None:
    document = {
        "types": {
            "EIP712Domain": [{"name": "name", "type": "string"}],
            "Mail": [{"name": "to", "type": "address[]"}, {"name": "flags", "type": "int8[2]"}],
        },
        "primaryType": "Mail",
        "domain": {"name": "elsewhere"},
        "message": {"to": [dev_signer(1).address], "flags": [-1, 2]},
    }
    oracle = Account.from_key(dev_signer(0).private_key).sign_typed_data(full_message=document)
    assert dev_signer(0).sign_typed_data(document) == "0x" + bytes(oracle.signature).hex()


def test_a_transaction_that_creates_a_contract_needs_no_recipient() -> None:
    creation = {key: value for key, value in TRANSFER.items() if key != "to"} | {"data": "0x00", "gas": 100_000}
    assert Account.recover_transaction(dev_signer(0).sign_transaction(creation)) == dev_signer(0).address


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chainId": None}, "one chain"),
        ({"gasPrice": 1}, "EIP-1559"),
        ({"nonce": "x"}, "cannot be signed"),
        ({"nonce": -1}, "cannot be signed"),
        ({"gas": None}, "gas is None"),
        ({"chainId": 0}, "one chain"),
        ({"type": 1}, "EIP-1559"),
        ({"to": "0x12"}, "not an address"),
        ({"data": "0x1"}, "0x-hex"),
        ({"blobs": 1}, "blobs is not known"),
        ({"accessList": [1]}, "accessList is not known"),
        ({"from": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}, "the key is that of"),
    ],
)
def test_a_transaction_that_is_incomplete_or_legacy_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dev_signer(0).sign_transaction(TRANSFER | change)


@pytest.mark.parametrize("key", [b"", b"\x01" * 31, b"\x01" * 33, bytes(32), b"\xff" * 32])
def test_bytes_that_are_no_private_key_are_refused_without_quoting_them(key: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        KeySigner(key)
    assert caught.value.__cause__ is None
    assert "ffff" not in str(caught.value)


def test_generated_keys_differ() -> None:
    assert KeySigner.generate().address != KeySigner.generate().address


def test_no_text_form_shows_the_key() -> None:
    signer = dev_signer(0)
    secret = signer.private_key.hex()
    assert secret not in repr(signer) and secret not in str(signer) and secret not in f"{signer!r}"
    assert signer.address in repr(signer)
