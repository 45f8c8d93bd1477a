"""Groups of accounts (ERC-734), their registry, and what the hub makes of them."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex, to_hex32
from tests.contracts.around import groups
from tests.contracts.registries import NO_DATA, ChainContract, Log, reverts
from tests.contracts.world import Person, World, bytes32, names

LEADER = Person("leader")
MEMBER = 4


@pytest.fixture
def registry(world: World) -> ChainContract:
    return groups()


@pytest.fixture
def group(registry: ChainContract) -> ChainContract:
    return ChainContract("group", registry.call("create", "the team", sender=LEADER.address))


def key_of(account: str) -> str:
    return bytes32(int(account, 16))


def account(number: int) -> str:
    return Person(f"account {number}").address


def add(group: ChainContract, *accounts: str, sender: Person = LEADER) -> list[Log]:
    return group.transact("addMembers", list(accounts), sender=sender.address)[1]


def remove(group: ChainContract, *accounts: str, sender: Person = LEADER) -> list[Log]:
    return group.transact("removeMembers", list(accounts), sender=sender.address)[1]


# --- members --------------------------------------------------------------------------------------------------------


def test_new_group_is_empty_and_its_creators(registry: ChainContract, group: ChainContract) -> None:
    assert group.call("name") == "the team"
    assert group.call("owner") == LEADER.address
    assert group.call("registry") == registry.address
    assert group.call("memberCount") == 0
    assert group.call("members", 0) == ()
    assert group.call("keyHasPurpose", key_of(LEADER.address), MEMBER) is False


def test_members_have_the_purpose_and_nobody_else(group: ChainContract) -> None:
    assert names(add(group, account(0), account(1))) == ["KeyAdded"] * 2
    for number, expected in ((0, True), (1, True), (2, False)):
        assert group.call("isMember", account(number)) is expected
        assert group.call("keyHasPurpose", key_of(account(number)), MEMBER) is expected
        for purpose in (0, 1, 2, 3, 5, 2**256 - 1):
            assert group.call("keyHasPurpose", key_of(account(number)), purpose) is False


def test_a_key_is_a_whole_padded_address(group: ChainContract) -> None:
    add(group, account(0))
    number = int(account(0), 16)
    for other in (number | 1 << 160, number | 1 << 255, number << 96):
        assert group.call("keyHasPurpose", bytes32(other), MEMBER) is False
    assert group.call("keyHasPurpose", to_hex32(keccak(bytes.fromhex(account(0)[2:]))), MEMBER) is False


def test_a_key_is_described_as_the_standard_says(group: ChainContract) -> None:
    add(group, account(0))
    assert group.call("getKey", key_of(account(0))) == ((MEMBER,), 1, key_of(account(0)))
    assert group.call("getKey", key_of(account(1))) == ((), 0, ZERO32)


def test_events_are_those_of_the_standard(group: ChainContract) -> None:
    told = {"key": key_of(account(0)), "purpose": MEMBER, "keyType": 1}
    assert add(group, account(0)) == [Log(group.address, "KeyAdded", told)]
    assert remove(group, account(0)) == [Log(group.address, "KeyRemoved", told)]


def test_who_is_in_stays_in_and_who_is_out_stays_out(group: ChainContract) -> None:
    assert len(add(group, account(0), account(0), account(1))) == 2
    assert add(group, account(0)) == []
    assert group.call("memberCount") == 2
    assert remove(group, account(5)) == []
    assert len(remove(group, account(0), account(0))) == 1
    assert group.call("members", 0) == (account(1),)


def test_removal_moves_the_last_into_the_gap(group: ChainContract) -> None:
    add(group, *(account(number) for number in range(5)))
    remove(group, account(1))
    assert group.call("members", 0) == (account(0), account(4), account(2), account(3))
    remove(group, account(3), account(0))
    assert group.call("members", 0) == (account(2), account(4))
    add(group, account(1))
    assert group.call("members", 0) == (account(2), account(4), account(1))
    remove(group, account(1), account(4), account(2))
    assert group.call("members", 0) == ()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 5), max_size=4)), max_size=8))
@example(steps=[(False, [0, 5])])
def test_any_comings_and_goings_leave_who_should_be_in(
    group: ChainContract, steps: list[tuple[bool, list[int]]]
) -> None:
    with boa.env.anchor():
        expected: list[str] = []
        for joins, numbers in [(True, list(range(6))), *steps]:
            for who in (account(number) for number in numbers):
                if joins and who not in expected:
                    expected.append(who)
                elif not joins and who in expected:
                    # The last comes into the gap.
                    expected[expected.index(who)] = expected[-1]
                    expected.pop()
            (add if joins else remove)(group, *(account(number) for number in numbers))
            assert group.call("members", 0) == tuple(expected)
            assert group.call("memberCount") == len(expected)
        for number in range(6):
            assert group.call("isMember", account(number)) is (account(number) in expected)


def test_256_accounts_a_call_and_pages_of_256(group: ChainContract) -> None:
    crowd = [to_hex(number.to_bytes(20, "big")) for number in range(1, 258)]
    assert len(add(group, *crowd[:256])) == 256
    with reverts(NO_DATA):
        add(group, *crowd)
    add(group, crowd[256])
    assert group.call("memberCount") == 257
    assert len(group.call("members", 0)) == 256
    assert [page.lower() for page in group.call("members", 255)] == crowd[255:]
    assert group.call("members", 257) == group.call("members", 2**256 - 1) == ()
    with reverts(NO_DATA):
        remove(group, *crowd)
    assert len(remove(group, *crowd[:256])) == 256
    assert [page.lower() for page in group.call("members", 0)] == crowd[256:]


def test_nobody_is_no_member(group: ChainContract) -> None:
    with reverts(NO_DATA):
        add(group, account(0), ZERO_ADDRESS)
    assert group.call("memberCount") == 0
    assert group.call("keyHasPurpose", ZERO32, MEMBER) is False


def test_only_the_owner_changes_the_group(group: ChainContract) -> None:
    add(group, account(0))
    member, stranger = Person("account 0"), Person("stranger")
    for sender in (member, stranger):
        with reverts("caller is not the owner"):
            add(group, account(1), sender=sender)
        with reverts("caller is not the owner"):
            remove(group, account(0), sender=sender)
        with reverts("caller is not the owner"):
            group.call("transferOwnership", sender.address, sender=sender.address)
    with reverts("caller is not the owner"):
        group.call("addMembers", [account(1)], sender=group.call("registry"))


def test_ownership_goes_over_in_two_steps_and_the_registry_knows(registry: ChainContract, group: ChainContract) -> None:
    heir = Person("heir")
    group.call("transferOwnership", heir.address, sender=LEADER.address)
    assert group.call("owner") == LEADER.address
    for sender in (LEADER, Person("stranger")):
        with reverts("caller is not the successor"):
            group.call("acceptOwnership", sender=sender.address)
    _, logs = group.transact("acceptOwnership", sender=heir.address)
    assert names(logs) == ["OwnershipTransferred"]
    assert group.call("owner") == heir.address
    with reverts("caller is not the owner"):
        add(group, account(1))
    add(group, account(1), sender=heir)
    assert registry.call("groupsOf", heir.address, 0) == (group.address,)
    assert registry.call("groupsOf", LEADER.address, 0) == (group.address,)


# --- the registry ---------------------------------------------------------------------------------------------------


def test_creation_is_told_and_predicted(registry: ChainContract) -> None:
    for name in ("a", "a", "b"):
        expected = registry.call("nextAddressOf", LEADER.address, name)
        address, logs = registry.transact("create", name, sender=LEADER.address)
        assert address == expected
        assert registry.call("isGroup", address) is True
        name_hash = to_hex(keccak(name.encode()))
        told = {"group": address, "owner": LEADER.address, "nameHash": name_hash, "name": name}
        assert logs == [Log(registry.address, "GroupCreated", told)]
    assert registry.call("isGroup", registry.address) is False


def test_groups_are_listed_by_owner_and_by_name_and_names_are_not_unique(registry: ChainContract) -> None:
    copycat = Person("copycat")
    made = [registry.call("create", name, sender=LEADER.address) for name in ("team", "other", "team")]
    copy = registry.call("create", "team", sender=copycat.address)
    team, nobody = to_hex(keccak(b"team")), to_hex(keccak(b"nobody"))
    assert registry.call("groupsOf", LEADER.address, 0) == tuple(made)
    assert registry.call("groupsOf", LEADER.address, 2) == (made[2],)
    assert registry.call("countOf", LEADER.address) == 3
    assert registry.call("groupsNamed", team, 0) == (made[0], made[2], copy)
    assert registry.call("groupsNamed", team, 1) == (made[2], copy)
    assert registry.call("countNamed", team) == 3
    assert registry.call("groupsNamed", nobody, 0) == registry.call("groupsOf", account(1), 0) == ()
    assert registry.call("groupsOf", LEADER.address, 2**256 - 1) == ()
    assert ChainContract("group", copy).call("owner") == copycat.address


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 64])
def test_name_of_any_length_reads_back(registry: ChainContract, length: int) -> None:
    name = ("0123456789" * 7)[:length]
    assert ChainContract("group", registry.call("create", name)).call("name") == name


def test_name_beyond_the_bound_is_refused(registry: ChainContract) -> None:
    with reverts(NO_DATA):
        registry.call("create", "n" * 65)


def test_only_groups_of_the_registry_note_owners(registry: ChainContract, group: ChainContract) -> None:
    foreign = ChainContract("group", groups().call("create", "elsewhere", sender=LEADER.address))
    for sender in (LEADER.address, foreign.address):
        with reverts("caller is no group"):
            registry.call("noteOwner", account(1), sender=sender)
    assert registry.call("countOf", account(1)) == 0


def test_the_target_is_no_group(registry: ChainContract) -> None:
    target = ChainContract("group", registry.call("target"))
    assert registry.call("isGroup", target.address) is False
    for call in (lambda: target.call("owner"), lambda: target.call("name"), lambda: add(target, account(1))):
        with reverts(NO_DATA):
            call()


# --- in the hub's restrictions --------------------------------------------------------------------------------------

RESTRICTIONS: list[tuple[str, str, str]] = [
    ("app", "datasetrestrict", "0x13"),
    ("app", "workerpoolrestrict", "0x14"),
    ("app", "requesterrestrict", "0x15"),
    ("dataset", "apprestrict", "0x16"),
    ("dataset", "workerpoolrestrict", "0x17"),
    ("dataset", "requesterrestrict", "0x18"),
    ("workerpool", "apprestrict", "0x19"),
    ("workerpool", "datasetrestrict", "0x1a"),
    ("workerpool", "requesterrestrict", "0x1b"),
]


@pytest.mark.parametrize(("order", "field", "code"), RESTRICTIONS)
def test_hub_admits_members_and_nobody_else(
    world: World, group: ChainContract, order: str, field: str, code: str
) -> None:
    subjects = {
        "apprestrict": world.app,
        "datasetrestrict": world.dataset,
        "workerpoolrestrict": world.pool,
        "requesterrestrict": world.requester.address,
    }
    world.fund(world.requester)
    world.fund(world.scheduler)
    changes: dict[str, Any] = {order: {field: group.address}}
    orders = world.orders(with_dataset=True, **changes)
    add(group, Person("somebody else").address)
    with reverts(f"iExecV5-matchOrders-{code}"):
        world.match(orders)
    add(group, subjects[field])
    with world.anchor():
        assert world.match(orders) != ZERO32
    remove(group, subjects[field])
    with reverts(f"iExecV5-matchOrders-{code}"):
        world.match(orders)
