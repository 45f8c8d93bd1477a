// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

struct AppOrder {
    address app;
    uint256 appprice;
    uint256 volume;
    bytes32 tag;
    address datasetrestrict;
    address workerpoolrestrict;
    address requesterrestrict;
    bytes32 salt;
    bytes sign;
}

struct DatasetOrder {
    address dataset;
    uint256 datasetprice;
    uint256 volume;
    bytes32 tag;
    address apprestrict;
    address workerpoolrestrict;
    address requesterrestrict;
    bytes32 salt;
    bytes sign;
}

struct WorkerpoolOrder {
    address workerpool;
    uint256 workerpoolprice;
    uint256 volume;
    bytes32 tag;
    uint256 category;
    uint256 trust;
    address apprestrict;
    address datasetrestrict;
    address requesterrestrict;
    bytes32 salt;
    bytes sign;
}

struct RequestOrder {
    address app;
    uint256 appmaxprice;
    address dataset;
    uint256 datasetmaxprice;
    address workerpool;
    uint256 workerpoolmaxprice;
    address requester;
    uint256 volume;
    bytes32 tag;
    uint256 category;
    uint256 trust;
    address beneficiary;
    address callback;
    string params;
    bytes32 salt;
    bytes sign;
}

struct RequestOrderOperation {
    RequestOrder order;
    uint8 operation;
    bytes sign;
}

interface IHub {
    function manageRequestOrder(RequestOrderOperation calldata operation) external;

    function matchOrders(
        AppOrder calldata appOrder,
        DatasetOrder calldata datasetOrder,
        WorkerpoolOrder calldata workerpoolOrder,
        RequestOrder calldata requestOrder
    ) external returns (bytes32);

    function withdrawTo(uint256 amount, address target) external returns (bool);
}

/// @title A contract that asks a question which a chain cannot answer, and gets a verified answer
/// @notice It pays for a computation out of its own account at the hub, names itself as the callback, and keeps the answer
///         that the workers agreed on. Its twin in Vyper is `trend_consumer.vy`: same functions, same behaviour.
/// @dev What makes an answer trustworthy is checked here, not believed: only the hub may call back, only for a task that this
///      contract asked for, at a trust that its owner fixed when it was created.
contract TrendConsumer {
    uint8 private constant SIGN = 0;

    address public immutable hub;
    address public immutable owner;
    uint256 public immutable trust;
    uint256 public immutable maxPrice;

    uint256 public asked;
    mapping(bytes32 task => bool) public pending;
    mapping(bytes32 task => bool) public answered;
    mapping(bytes32 task => uint256) public answer;
    uint256 public latest;

    event Asked(bytes32 indexed task, bytes32 deal);
    event Answered(bytes32 indexed task, uint256 answer);
    event Failed(bytes32 indexed task, bytes reason);

    /// @param hub_address The one address that may call back.
    /// @param lowest_trust Every question is asked at this trust: workers agree with confidence 1 - 1/trust.
    /// @param highest_price What one question may cost (nRLC).
    constructor(address hub_address, uint256 lowest_trust, uint256 highest_price) {
        require(lowest_trust > 1, "an answer of trust 1 is one worker's word");
        hub = hub_address;
        owner = msg.sender;
        trust = lowest_trust;
        maxPrice = highest_price;
    }

    /// @notice Buys one computation: `params` names the job, the two orders are signed offers from the market. The money comes
    ///         out of this contract's account at the hub, which anybody can fill (`depositFor`).
    /// @return task The task that will be answered.
    function ask(AppOrder calldata app_order, WorkerpoolOrder calldata workerpool_order, string calldata params)
        external
        returns (bytes32 task)
    {
        require(msg.sender == owner, "only the owner asks");
        require(app_order.appprice + workerpool_order.workerpoolprice <= maxPrice, "too expensive");
        asked += 1;
        RequestOrder memory request;
        request.app = app_order.app;
        request.appmaxprice = app_order.appprice;
        request.workerpool = workerpool_order.workerpool;
        request.workerpoolmaxprice = workerpool_order.workerpoolprice;
        request.requester = address(this);
        request.volume = 1;
        request.category = workerpool_order.category;
        request.trust = trust;
        request.beneficiary = address(this);
        request.callback = address(this);
        request.params = params;
        request.salt = bytes32(asked);
        // A contract has no key: it signs by calling.
        IHub(hub).manageRequestOrder(RequestOrderOperation(request, SIGN, ""));
        DatasetOrder memory none;
        bytes32 deal = IHub(hub).matchOrders(app_order, none, workerpool_order, request);
        // The order is new and of one task, so its index is 0.
        task = keccak256(abi.encodePacked(deal, uint256(0)));
        pending[task] = true;
        emit Asked(task, deal);
    }

    /// @notice The hub's call at the end of a task. 32 bytes are an answer; anything else is the job's error document, on which
    ///         the workers agreed just as well.
    function receiveResult(bytes32 task, bytes calldata result) external {
        require(msg.sender == hub, "only the hub answers");
        require(pending[task], "nobody asked");
        pending[task] = false;
        if (result.length != 32) {
            emit Failed(task, result);
            return;
        }
        uint256 value = uint256(bytes32(result));
        answered[task] = true;
        answer[task] = value;
        latest = value;
        emit Answered(task, value);
    }

    /// @notice Takes unspent money out of the hub. A question that nobody answered is refunded there after its deadline.
    function takeBack(uint256 amount) external {
        require(msg.sender == owner, "only the owner takes money");
        require(IHub(hub).withdrawTo(amount, owner));
    }
}
