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

/// @title {{name}}: a contract that orders a computation and keeps the verified answer
/// @notice It pays out of its own account at the hub, names itself as the callback, and keeps the answer that workers agreed
///         on.
/// @dev What makes an answer trustworthy is checked here, not believed: only the hub may call back, and only once for each task
///      that this contract ordered; a task is bound to the job that was ordered, whose manifest (script, inputs, runtime, limits)
///      is fixed before it is asked; the trust is fixed when the contract is created, and above one worker's word. The hub
///      hands over the very bytes whose hash the workers agreed on. Who can stop it: the owner can stop asking and take unspent
///      money home; nobody can change an answer, and nobody else can take money.
contract Consumer {
    uint8 private constant SIGN = 0;

    address public immutable hub;
    address public immutable owner;
    uint256 public immutable trust;
    uint256 public immutable maxPrice;

    string public job;
    uint256 public asked;
    mapping(bytes32 task => bytes32) public jobOf;
    mapping(bytes32 task => bool) public pending;
    mapping(bytes32 task => bool) public answered;
    mapping(bytes32 task => uint256) public answer;
    uint256 public latest;

    event Asked(bytes32 indexed task, bytes32 deal, bytes32 job);
    event Answered(bytes32 indexed task, uint256 answer);
    event Failed(bytes32 indexed task, bytes reason);

    /// @param hub_address The one address that may call back.
    /// @param first_job What is computed: the params that name the job's manifest.
    /// @param lowest_trust Every question is asked at this trust: workers agree with confidence 1 - 1/trust.
    /// @param highest_price What one question may cost (nRLC).
    constructor(address hub_address, string memory first_job, uint256 lowest_trust, uint256 highest_price) {
        require(hub_address.code.length > 0, "there is no hub");
        require(lowest_trust > 1, "an answer of trust 1 is one worker's word");
        job = first_job;
        hub = hub_address;
        owner = msg.sender;
        trust = lowest_trust;
        maxPrice = highest_price;
    }

    /// @notice Orders the job once; the two orders are signed offers from the market. The money comes out of this contract's
    ///         account at the hub, which anybody can fill (`depositFor`).
    /// @return task The task that will be answered.
    function ask(AppOrder calldata app_order, WorkerpoolOrder calldata workerpool_order)
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
        request.params = job;
        request.salt = bytes32(asked);
        // A contract has no key: it signs by calling.
        IHub(hub).manageRequestOrder(RequestOrderOperation(request, SIGN, ""));
        DatasetOrder memory none;
        bytes32 deal = IHub(hub).matchOrders(app_order, none, workerpool_order, request);
        // The order is new and of one task, so its index is 0.
        task = keccak256(abi.encodePacked(deal, uint256(0)));
        pending[task] = true;
        jobOf[task] = keccak256(bytes(job));
        emit Asked(task, deal, jobOf[task]);
    }

    /// @notice Changes what is computed from the next question on. Questions that were asked keep the job that they were asked
    ///         with.
    function setJob(string calldata next_job) external {
        require(msg.sender == owner, "only the owner changes the job");
        job = next_job;
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
