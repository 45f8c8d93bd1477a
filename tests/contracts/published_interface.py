"""Selectors and topics of the published interface (spec/poco.md, appendix A), as far as the hub has it, and our own."""

from __future__ import annotations

from typing import Final

__all__ = ["ERRORS", "EVENTS", "FUNCTIONS", "NATIVE_FUNCTIONS", "OWN_EVENTS", "OWN_FUNCTIONS"]

FUNCTIONS: Final[dict[str, str]] = {
    "0x156194d4": (
        "matchOrders((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(address,ui"
        "nt256,uint256,bytes32,address,address,address,bytes32,bytes),(address,uint256,uint256,bytes32,u"
        "int256,uint256,address,address,address,bytes32,bytes),(address,uint256,address,uint256,address,"
        "uint256,address,uint256,bytes32,uint256,uint256,address,address,string,bytes32,bytes))"
    ),
    "0x2f391533": (
        "sponsorMatchOrders((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(add"
        "ress,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(address,uint256,uint256,by"
        "tes32,uint256,uint256,address,address,address,bytes32,bytes),(address,uint256,address,uint256,a"
        "ddress,uint256,address,uint256,bytes32,uint256,uint256,address,address,string,bytes32,bytes))"
    ),
    "0xb2b07e66": (
        "manageAppOrder(((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),uint8,bytes))"
    ),
    "0x4b747106": (
        "manageDatasetOrder(((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),uint8,bytes))"
    ),
    "0x7e34a077": (
        "manageWorkerpoolOrder(((address,uint256,uint256,bytes32,uint256,uint256,address,address,address"
        ",bytes32,bytes),uint8,bytes))"
    ),
    "0x8dd971d5": (
        "manageRequestOrder(((address,uint256,address,uint256,address,uint256,address,uint256,bytes32,ui"
        "nt256,uint256,address,address,string,bytes32,bytes),uint8,bytes))"
    ),
    "0x66517ca6": (
        "computeDealVolume((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(addr"
        "ess,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(address,uint256,uint256,byt"
        "es32,uint256,uint256,address,address,address,bytes32,bytes),(address,uint256,address,uint256,ad"
        "dress,uint256,address,uint256,bytes32,uint256,uint256,address,address,string,bytes32,bytes))"
    ),
    "0x8a8b3607": (
        "matchOrdersBoost((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(addre"
        "ss,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(address,uint256,uint256,byte"
        "s32,uint256,uint256,address,address,address,bytes32,bytes),(address,uint256,address,uint256,add"
        "ress,uint256,address,uint256,bytes32,uint256,uint256,address,address,string,bytes32,bytes))"
    ),
    "0xc1f9a20e": (
        "sponsorMatchOrdersBoost((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes)"
        ",(address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),(address,uint256,uint2"
        "56,bytes32,uint256,uint256,address,address,address,bytes32,bytes),(address,uint256,address,uint"
        "256,address,uint256,address,uint256,bytes32,uint256,uint256,address,address,string,bytes32,byte"
        "s))"
    ),
    "0x9bced28b": "pushResultBoost(bytes32,uint256,bytes,bytes,bytes,address,bytes)",
    "0xaf24ba0b": "claimBoost(bytes32,uint256)",
    "0x63fbac17": "viewDealBoost(bytes32)",
    "0x5b36c66b": "initialize(bytes32,uint256)",
    "0x34623484": "contribute(bytes32,bytes32,bytes32,address,bytes,bytes)",
    "0xfc334e8c": "reveal(bytes32,bytes32)",
    "0xf6c68e10": "reopen(bytes32)",
    "0x8fc375e5": "finalize(bytes32,bytes,bytes)",
    "0x5facd761": "contributeAndFinalize(bytes32,bytes32,bytes,bytes,address,bytes,bytes)",
    "0xbd66528a": "claim(bytes32)",
    "0xb504681d": "initializeArray(bytes32[],uint256[])",
    "0xfa055d7e": "claimArray(bytes32[])",
    "0xf722cb32": "initializeAndClaimArray(bytes32[],uint256[])",
    "0x01751998": "verifySignature(address,bytes32,bytes)",
    "0xc87b582a": "verifyPresignature(address,bytes32)",
    "0xbf36994e": "verifyPresignatureOrSignature(address,bytes32,bytes)",
    "0xb74861b2": "viewDeal(bytes32)",
    "0xadccf0d5": "viewTask(bytes32)",
    "0xe741363b": "viewContribution(bytes32,address)",
    "0xdb230b52": "viewScore(address)",
    "0x4b2bec8c": "viewConsumed(bytes32)",
    "0xd286eb16": "viewPresigned(bytes32)",
    "0x6b55f4a5": "viewAccount(address)",
    "0x4f5f44ec": "viewCategory(uint256)",
    "0xc140996f": "countCategory()",
    "0xe1523fb4": "viewApp(address)",
    "0x1e143ef7": "viewDataset(address)",
    "0xbd8ab058": "viewWorkerpool(address)",
    "0xd09cc57e": "resultFor(bytes32)",
    "0xc2fb26a6": "domain()",
    "0x9910fd72": "eip712domain_separator()",
    "0x74ed5244": "contribution_deadline_ratio()",
    "0x2b8857c1": "reveal_deadline_ratio()",
    "0xdb8aaa26": "final_deadline_ratio()",
    "0x6112f6fd": "workerpool_stake_ratio()",
    "0xdcb03241": "kitty_ratio()",
    "0x77a99692": "kitty_min()",
    "0xa47e7f80": "kitty_address()",
    "0x25eacba8": "groupmember_purpose()",
    "0x06fdde03": "name()",
    "0x95d89b41": "symbol()",
    "0x313ce567": "decimals()",
    "0x18160ddd": "totalSupply()",
    "0x70a08231": "balanceOf(address)",
    "0x1bf6e00d": "frozenOf(address)",
    "0xdd62ed3e": "allowance(address,address)",
    "0xfc0c546a": "token()",
    "0x45b637a9": "appregistry()",
    "0xb1b11d2c": "datasetregistry()",
    "0x90a0f546": "workerpoolregistry()",
    "0x5975b8fc": "teebroker()",
    "0xe63ec07d": "callbackgas()",
    "0xa9059cbb": "transfer(address,uint256)",
    "0x23b872dd": "transferFrom(address,address,uint256)",
    "0x095ea7b3": "approve(address,uint256)",
    "0x39509351": "increaseAllowance(address,uint256)",
    "0xa457c2d7": "decreaseAllowance(address,uint256)",
    "0xcae9ca51": "approveAndCall(address,uint256,bytes)",
    "0xb6b55f25": "deposit(uint256)",
    "0x36efd16f": "depositFor(uint256,address)",
    "0x3354f8a5": "depositForArray(uint256[],address[])",
    "0x2e1a7d4d": "withdraw(uint256)",
    "0xc86283c8": "withdrawTo(uint256,address)",
    "0x8f4ffcb1": "receiveApproval(address,uint256,address,bytes)",
    "0xce746024": "recover()",
    "0x298503d9": "createCategory(string,string,uint256)",
    "0x01d09a3c": "setCallbackGas(uint256)",
    "0xaefb52b4": "setTeeBroker(address)",
    "0x8da5cb5b": "owner()",
    "0xf2fde38b": "transferOwnership(address)",
    "0xb5521817": "configure(address,string,string,uint8,address,address,address,address)",
    "0x0e7c4033": "changeRegistries(address,address,address)",
    "0x89ccfe89": "updateDomainSeparator()",
    "0xa9b20cee": "importScore(address)",
    "0x01ffc9a7": "supportsInterface(bytes4)",
    "0xc52e9de1": "broadcastAppOrder((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes))",
    "0x4c4692de": "broadcastDatasetOrder((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes))",
    "0x947f5178": (
        "broadcastWorkerpoolOrder((address,uint256,uint256,bytes32,uint256,uint256,address,address,addres"
        "s,bytes32,bytes))"
    ),
    "0x4693d172": (
        "broadcastRequestOrder((address,uint256,address,uint256,address,uint256,address,uint256,bytes32,u"
        "int256,uint256,address,address,string,bytes32,bytes))"
    ),
    "0xbd19a4f3": "viewDealABILegacy_pt1(bytes32)",
    "0xce5f7895": "viewDealABILegacy_pt2(bytes32)",
    "0xd5922f50": "viewConfigABILegacy(bytes32)",
    "0x5b3ae3e4": "viewAccountABILegacy(address)",
    "0x248ad6a0": "viewTaskABILegacy(bytes32)",
    "0x11e35aba": "viewContributionABILegacy(bytes32,address)",
    "0xf9353b8d": "viewCategoryABILegacy(uint256)",
    "0x80f03425": (
        "assertDatasetDealCompatibility((address,uint256,uint256,bytes32,address,address,address,bytes32,"
        "bytes),bytes32)"
    ),
}

EVENTS: Final[dict[str, str]] = {
    "0xd811b592ed0899225773e8933d8df64bd0b62761a9d7aad4ed5b22735f4610a4": (
        "OrdersMatched(bytes32,bytes32,bytes32,bytes32,bytes32,uint256)"
    ),
    "0x692ad61076dceddd0f1a861f737553dd61fc8501cf4190d29c4e90af6607f765": "SchedulerNotice(address,bytes32)",
    "0x81eec3d5401bb1693dbef61f0800bc16602905d6677d691c1262d6f08456e9a0": "DealSponsored(bytes32,address)",
    "0x90edec6d368fb8a52f3cba8ef8adbc79511b2b7a6d1df663e38ae6f4775c11a6": (
        "SchedulerNoticeBoost(address,bytes32,address,address,uint256,bytes32,string,address)"
    ),
    "0x30d8c59de5f54b676eb3410d971831f2cd83fcf445559b287cecadb1900fc454": "DealSponsoredBoost(bytes32,address)",
    "0xfbd7641f7e58d072f2d358846c1b7880d83d9293a71a4b04880b8eaf7e54306f": "ResultPushedBoost(bytes32,uint256,bytes)",
    "0x252992fb0468d68d6a5784ec03214f0d0a362083f2d7ebd157af43b017a22e06": "TaskInitialize(bytes32,address)",
    "0x3fdb8d7797562d49a81078dbf7fa1771958ea452f8b13d1148383bd9506aecfb": "TaskContribute(bytes32,address,bytes32)",
    "0xf6d49bf3e05d33a4bc497d3c793fb5756388bb96b947cf51bb60aaecb0e022e3": "TaskConsensus(bytes32,bytes32)",
    "0x4b1763d473ac8fa80b4432ba90047e1b92444d8fabc55e6a002d9b1a316d7959": "TaskReveal(bytes32,address,bytes32)",
    "0x3afe0f24796ce653c6ab1f3e7aba5ce564eece5e82aee724aff28253e829f07b": "TaskReopen(bytes32)",
    "0x78ce8a8bc0fcb704e8ba3b3dbb36aa88002df8038128b4af2f27ef65db665044": "TaskFinalize(bytes32,bytes)",
    "0xcbc308b5f91040d2659a5201858344b0b583cd2f9e18e8470c2fa052c5b21ff8": "TaskClaimed(bytes32)",
    "0x9703f4589802246c80b822e63697180da799e363cd1b6fd9465a5e5574d53492": "AccurateContribution(address,bytes32)",
    "0xf868788948d55240774fdbad06555105ef20bbc70d1b7eccda982b65e11e79bb": "FaultyContribution(address,bytes32)",
    "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef": "Transfer(address,address,uint256)",
    "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925": "Approval(address,address,uint256)",
    "0x625fed9875dada8643f2418b838ae0bc78d9a148a18eee4ee1979ff0f3f5d427": "Lock(address,uint256)",
    "0x6381d9813cabeb57471b5a7e05078e64845ccdb563146a6911d536f24ce960f1": "Unlock(address,uint256)",
    "0xc2aca55aa696938c7e95842e8939ca0fbb2120a3eeb8948cdcee2b70da566672": "Reward(address,uint256,bytes32)",
    "0x1bccc549c38561cd5b57f0db11ceb8dde1b0b6ee05ab5e155b51c7c5ba64becb": "Seize(address,uint256,bytes32)",
    "0x50933cf5a9c44d5ed66b895deb27212aa33d811b46a7b41093e047e213c0bcab": "SignedAppOrder(bytes32)",
    "0x79ce85909be2c590a728d1634ce6ec8a7cbf815260bacc05387890a313da8130": "SignedDatasetOrder(bytes32)",
    "0x3a61aabf2ab04790d082ff1e332853b2f66944c2e951a146121f80272812a476": "SignedWorkerpoolOrder(bytes32)",
    "0x3b0ac04165536d6b11d04220f998c840bd6e439d59c5d8721bba8a4e1fb9ebfd": "SignedRequestOrder(bytes32)",
    "0x7343f75be43aba524f85326508cd975d016ef7884676377366c69a7c32e30668": "ClosedAppOrder(bytes32)",
    "0xcf52e3228bc482a6656d8ab56c09888b1c5bf6aaadba0185e96a34836f2bb1d4": "ClosedDatasetOrder(bytes32)",
    "0x145ad51e4496173bca15e24e7eb46f9ab3a10eea0497e2801a3a6806c06113a3": "ClosedWorkerpoolOrder(bytes32)",
    "0x582f43f2a741cbe708aae3b8d38a4efc3d09d7e81919697b3ca693f4c444cc05": "ClosedRequestOrder(bytes32)",
    "0x62bf08360c9d561749c54eaf4f8bf8cb6c8b6f4f40607bcec39a8172e714d25c": (
        "CreateCategory(uint256,string,string,uint256)"
    ),
    "0x8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0": "OwnershipTransferred(address,address)",
    "0x6fd493f856b22df174df46975d6dcf0895c7dfb3c63d20179c0dcd5563e2f565": (
        "BroadcastAppOrder((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes))"
    ),
    "0xc56d982ad2fd39ebadca073cc88d9bdaee0f4c8e7b2b6be50227169daefc7b3f": (
        "BroadcastDatasetOrder((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes))"
    ),
    "0xaf81a046e31ebb2be305579e585ac6b2ee3fdc2dc9dba806bb826879bb2c7851": (
        "BroadcastWorkerpoolOrder((address,uint256,uint256,bytes32,uint256,uint256,address,address,addres"
        "s,bytes32,bytes))"
    ),
    "0x54bee205d9b03332d6dc82bc907476dfef6ed4fd86058d49a72994baee781175": (
        "BroadcastRequestOrder((address,uint256,address,uint256,address,uint256,address,uint256,bytes32,u"
        "int256,uint256,address,address,string,bytes32,bytes))"
    ),
}

ERRORS: Final[dict[str, str]] = {
    "0xff4127cb": "NotContractOwner(address,address)",
    "0x6dfcc650": "SafeCastOverflowedUintDowncast(uint8,uint256)",
    "0xde6168e5": "UnsupportedOperation(bytes4)",
    "0x0afd9382": "IncompatibleDatasetOrder(string)",
    "0x74a0583f": "CallerIsNotTheRequester()",
    "0x0364eed2": "OperationFailed()",
}

OWN_FUNCTIONS: Final[dict[str, str]] = {
    "0xb75f7560": "openRun(bytes32,uint256)",
    "0xaae74347": "splitRun(bytes32,uint256)",
    "0xedfaabe7": "finalizeRun(bytes32,bytes32,bytes)",
    "0x102efb17": "settleRun(bytes32,uint256,bytes32,bytes,address,bytes,bytes)",
    "0xf76c9aeb": "materialise(bytes32,uint256,bytes32,bytes32[],bytes32,bytes32,bytes)",
    "0x31228414": "refundRest(bytes32)",
    "0x36d3c007": "viewRun(bytes32)",
    "0x1397c9c6": "viewLane(bytes32)",
    "0x88e8b920": "computeRunId(bytes32,uint256,uint256)",
    "0x84b0196e": "eip712Domain()",
    "0x4a970be7": "depositWithPermit(uint256,uint256,uint8,bytes32,bytes32)",
}
"""What the hub offers beyond the published interface."""

OWN_EVENTS: Final[dict[str, str]] = {
    "0x5d07738fc4b7db09b04ae786f2ef0f63a716a54bf0f310bedd5c91c41b533dc8": "RunOpen(bytes32,bytes32,uint256,uint256)",
    "0x2ae377941950bac353d20f15f88b92a63a907729c13e5d67234063e6525db65c": "RunSplit(bytes32,bytes32,bytes32)",
    "0xe60126f1f052a92b80c10ee55ff16d1bb258ed09b1e21798dbbabf89b87fcc40": (
        "RunFinalize(bytes32,bytes32,uint256,bytes,address[])"
    ),
    "0x77607a8d764c5ea89a616b1940aa69914c955e3019c581f92e6b2b60987d3a6a": (
        "TaskMaterialise(bytes32,bytes32,uint256,bytes32)"
    ),
    "0xa78b009ce9db38ad061e4366fd75c02dc9e7b48e0bde3326b0a496d4a66b8810": "DealRefund(bytes32,uint256,uint256)",
}
"""What it tells beyond the published interface."""

NATIVE_FUNCTIONS: Final[dict[str, str]] = {
    **{
        selector: signature
        for selector, signature in FUNCTIONS.items()
        if signature.partition("(")[0]
        in {
            *("name", "symbol", "decimals", "totalSupply", "balanceOf", "frozenOf", "allowance", "token"),
            *("transfer", "transferFrom", "approve", "increaseAllowance", "decreaseAllowance", "approveAndCall"),
            *("depositForArray", "withdraw", "withdrawTo", "recover"),
        }
    },
    "0xd0e30db0": "deposit()",
    "0xaa67c919": "depositFor(address)",
}
"""The published escrow in native coins, with its ERC-20 surface."""
