# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of views
@license Apache-2.0
@notice What deals, tasks, contributions, orders, scores, accounts and assets look like. Changes nothing. Runs by delegatecall in
        the storage of the hub (`hub.vy`).
@dev What this facet does not know goes on to the facet of legacy accessors.
"""

from .interfaces import IAsset
from .lib import blob
from .lib import deal_views
from .lib import deals
from .lib import escrow
from .lib import hashing
from .lib import packing
from .lib import scores
from .lib import signatures
from .lib import state
from .lib import task_views
from .lib import types

initializes: state
initializes: blob[state := state]
initializes: deals[blob := blob, state := state]
initializes: escrow[state := state]
initializes: scores[state := state]
initializes: signatures[state := state]
initializes: task_views[state := state]

HUB_LEGACY: immutable(address)


@deploy
def __init__(hub_legacy: address):
    """
    @dev The facet that is asked next; it may be created later.
    """
    HUB_LEGACY = hub_legacy


# ── Views: deals, tasks, contributions ─────────────────────────────────────────────────────────────────────────────

@external
@view
def viewDeal(id: bytes32) -> types.Deal:
    """
    @notice A deal's terms; all zero if there is no such deal, or if it is one of boost (`viewDealBoost`).
    """
    return deal_views.deal_of(id)


@external
@view
def viewTask(id: bytes32) -> types.Task:
    """
    @notice Where a task stands, or a run as if it were one task; all zero if it was never opened. Of a task of boost only the
            status is shown, of a task that was settled in a run nothing before it is materialised.
    """
    return task_views.task_of(id)


@external
@view
def viewContribution(_taskid: bytes32, _worker: address) -> types.Contribution:
    """
    @notice What a worker contributed to a task or a run; all zero if nothing.
    """
    return task_views.contribution_of(_taskid, _worker)


@external
@view
def resultFor(id: bytes32) -> Bytes[types.MAX_RESULT]:
    """
    @notice The callback data of a completed task (ERC-1154 pull); none of a task of boost or of a run.
    """
    assert packing.task_status(state.tasks[id]) == types.TASK_COMPLETED, "task-pending"
    return task_views.callback_data_of(id)


# ── Views: orders, scores, accounts, categories ────────────────────────────────────────────────────────────────────

@external
@view
def viewConsumed(_id: bytes32) -> uint256:
    """
    @notice Units of an order that deals or its closing consumed.
    """
    return deals.consumed_by_request(_id)


@external
@view
def viewPresigned(_id: bytes32) -> address:
    """
    @notice Who presigned an order; zero if nobody.
    """
    return state.presigned[_id]


@external
@view
def viewScore(_worker: address) -> uint256:
    """
    @notice A worker's score.
    """
    return scores.score_of(_worker)


@external
@view
def viewAccount(account: address) -> types.Account:
    """
    @notice What an account can spend or withdraw (stake), and what is locked.
    """
    return types.Account(stake=escrow.balance_of(account), locked=escrow.frozen_of(account))


@external
@view
def countCategory() -> uint256:
    """
    @notice How many categories there are.
    """
    return state.category_count


@external
@view
def viewCategory(_catid: uint256) -> types.Category:
    """
    @notice A category; reverts without data if there is none.
    """
    word: uint256 = state.categories[_catid]
    assert packing.category_exists(word)
    return types.Category(
        name=state.category_names[_catid],
        description=state.category_descriptions[_catid],
        workClockTimeRef=packing.category_time_reference(word),
    )


# ── Views: assets ──────────────────────────────────────────────────────────────────────────────────────────────────

@external
@view
def viewApp(app: address) -> types.AppInfo:
    """
    @notice What an app tells about itself; reverts if the address is no app.
    """
    asset: IAsset = IAsset(app)
    return types.AppInfo(
        owner=staticcall asset.owner(),
        m_appName=staticcall asset.m_appName(),
        m_appType=staticcall asset.m_appType(),
        m_appMultiaddr=staticcall asset.m_appMultiaddr(),
        m_appChecksum=staticcall asset.m_appChecksum(),
        m_appMREnclave=staticcall asset.m_appMREnclave(),
    )


@external
@view
def viewDataset(dataset: address) -> types.DatasetInfo:
    """
    @notice What a dataset tells about itself; reverts if the address is no dataset.
    """
    asset: IAsset = IAsset(dataset)
    return types.DatasetInfo(
        owner=staticcall asset.owner(),
        m_datasetName=staticcall asset.m_datasetName(),
        m_datasetMultiaddr=staticcall asset.m_datasetMultiaddr(),
        m_datasetChecksum=staticcall asset.m_datasetChecksum(),
    )


@external
@view
def viewWorkerpool(workerpool: address) -> types.WorkerpoolInfo:
    """
    @notice What a workerpool tells about itself; reverts if the address is no workerpool.
    """
    asset: IAsset = IAsset(workerpool)
    return types.WorkerpoolInfo(
        owner=staticcall asset.owner(),
        m_workerpoolDescription=staticcall asset.m_workerpoolDescription(),
        m_workerStakeRatioPolicy=staticcall asset.m_workerStakeRatioPolicy(),
        m_schedulerRewardRatioPolicy=staticcall asset.m_schedulerRewardRatioPolicy(),
    )


# ── Views: signatures and domain ───────────────────────────────────────────────────────────────────────────────────

@external
@view
def verifySignature(_identity: address, _hash: bytes32, _signature: Bytes[types.MAX_SIGNATURE]) -> bool:
    """
    @notice True if the identity signed this very hash.
    """
    return signatures.is_signed(_identity, _hash, _signature)


@external
@view
def verifyPresignature(_identity: address, _hash: bytes32) -> bool:
    """
    @notice True if the identity presigned the order with this hash.
    """
    return signatures.is_presigned(_identity, _hash)


@external
@view
def verifyPresignatureOrSignature(
    _identity: address, _hash: bytes32, _signature: Bytes[types.MAX_SIGNATURE]
) -> bool:
    """
    @notice True if presigned or signed. A presigned hash needs no signature bytes.
    """
    return signatures.is_signed_or_presigned(_identity, _hash, _signature)


@external
@view
def domain() -> types.EIP712Domain:
    """
    @notice The EIP-712 domain in which orders are signed.
    """
    return types.EIP712Domain(
        name=hashing.DOMAIN_NAME,
        version=hashing.DOMAIN_VERSION,
        chainId=chain.id,
        verifyingContract=self,
    )


@external
@view
def eip712domain_separator() -> bytes32:
    """
    @notice Hash of that domain.
    """
    return hashing.domain_separator()


@external
@view
def eip712Domain() -> (bytes1, String[16], String[8], uint256, address, bytes32, DynArray[uint256, 1]):
    """
    @notice The same domain in the form of EIP-5267: fields (name, version, chain, contract), their values, no salt, no extensions.
    """
    return 0x0f, hashing.DOMAIN_NAME, hashing.DOMAIN_VERSION, chain.id, self, empty(bytes32), empty(DynArray[uint256, 1])


# ── Views: constants ───────────────────────────────────────────────────────────────────────────────────────────────

@external
@pure
def contribution_deadline_ratio() -> uint256:
    """
    @notice Contributions end this many time references after the deal.
    """
    return types.CONTRIBUTION_DEADLINE_RATIO


@external
@pure
def reveal_deadline_ratio() -> uint256:
    """
    @notice Reveals end this many time references after the consensus.
    """
    return types.REVEAL_DEADLINE_RATIO


@external
@pure
def final_deadline_ratio() -> uint256:
    """
    @notice A task can be claimed this many time references after the deal.
    """
    return types.FINAL_DEADLINE_RATIO


@external
@pure
def workerpool_stake_ratio() -> uint256:
    """
    @notice Percent of its price that a scheduler locks for each task.
    """
    return types.WORKERPOOL_STAKE_RATIO


@external
@pure
def kitty_ratio() -> uint256:
    """
    @notice Percent of the kitty that a successful task pays out.
    """
    return types.KITTY_RATIO


@external
@pure
def kitty_min() -> uint256:
    """
    @notice The least that a successful task pays out of the kitty, if it holds as much (nRLC).
    """
    return types.KITTY_MIN


@external
@pure
def kitty_address() -> address:
    """
    @notice The account of seized scheduler stakes. Nobody has its key.
    """
    return types.KITTY_ADDRESS


@external
@pure
def groupmember_purpose() -> uint256:
    """
    @notice The ERC-734 purpose of members of a group.
    """
    return types.GROUPMEMBER_PURPOSE


# ── Dispatch ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
@raw_return
def __default__() -> Bytes[types.MAX_ANSWER]:
    """
    @notice What this facet does not know is asked of the next.
    """
    return raw_call(HUB_LEGACY, msg.data, max_outsize=types.MAX_ANSWER, is_delegate_call=True)
