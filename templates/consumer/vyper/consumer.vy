# pragma version ==0.4.3
# pragma evm-version prague
"""
@title {{name}}: a contract that orders a computation and keeps the verified answer
@license Apache-2.0
@notice It pays out of its own account at the hub, names itself as the callback, and keeps the answer that workers agreed on.
@dev What makes an answer trustworthy is checked here, not believed:
     - only the hub may call back, and only once for each task that this contract ordered;
     - a task is bound to the job that was ordered: its manifest (script, inputs, runtime, limits) is fixed before it is asked;
     - the trust is fixed when the contract is created, and above one worker's word.
     The hub hands over the very bytes whose hash the workers agreed on. Who can stop it: the owner can stop asking and take unspent
     money home; nobody can change an answer, and nobody else can take money.
"""

struct AppOrder:
    app: address
    appprice: uint256
    volume: uint256
    tag: bytes32
    datasetrestrict: address
    workerpoolrestrict: address
    requesterrestrict: address
    salt: bytes32
    sign: Bytes[1024]

struct DatasetOrder:
    dataset: address
    datasetprice: uint256
    volume: uint256
    tag: bytes32
    apprestrict: address
    workerpoolrestrict: address
    requesterrestrict: address
    salt: bytes32
    sign: Bytes[1024]

struct WorkerpoolOrder:
    workerpool: address
    workerpoolprice: uint256
    volume: uint256
    tag: bytes32
    category: uint256
    trust: uint256
    apprestrict: address
    datasetrestrict: address
    requesterrestrict: address
    salt: bytes32
    sign: Bytes[1024]

struct RequestOrder:
    app: address
    appmaxprice: uint256
    dataset: address
    datasetmaxprice: uint256
    workerpool: address
    workerpoolmaxprice: uint256
    requester: address
    volume: uint256
    tag: bytes32
    category: uint256
    trust: uint256
    beneficiary: address
    callback: address
    params: String[1024]
    salt: bytes32
    sign: Bytes[1024]

struct RequestOrderOperation:
    order: RequestOrder
    operation: uint8
    sign: Bytes[1024]

interface Hub:
    def manageRequestOrder(operation: RequestOrderOperation): nonpayable
    def matchOrders(
        app_order: AppOrder, dataset_order: DatasetOrder, workerpool_order: WorkerpoolOrder, request_order: RequestOrder
    ) -> bytes32: nonpayable
    def withdrawTo(amount: uint256, target: address) -> bool: nonpayable

event Asked:
    task: indexed(bytes32)
    deal: bytes32
    job: bytes32

event Answered:
    task: indexed(bytes32)
    answer: uint256

event Failed:
    task: indexed(bytes32)
    reason: Bytes[2048]

SIGN: constant(uint8) = 0

hub: public(immutable(address))
owner: public(immutable(address))
trust: public(immutable(uint256))
maxPrice: public(immutable(uint256))

job: public(String[1024])
asked: public(uint256)
jobOf: public(HashMap[bytes32, bytes32])
pending: public(HashMap[bytes32, bool])
answered: public(HashMap[bytes32, bool])
answer: public(HashMap[bytes32, uint256])
latest: public(uint256)


@deploy
def __init__(hub_address: address, first_job: String[1024], lowest_trust: uint256, highest_price: uint256):
    """
    @param hub_address The one address that may call back.
    @param first_job What is computed: the params that name the job's manifest.
    @param lowest_trust Every question is asked at this trust: workers agree with confidence 1 - 1/trust.
    @param highest_price What one question may cost (nRLC).
    """
    assert hub_address.is_contract, "there is no hub"
    assert lowest_trust > 1, "an answer of trust 1 is one worker's word"
    self.job = first_job
    hub = hub_address
    owner = msg.sender
    trust = lowest_trust
    maxPrice = highest_price


@external
def ask(app_order: AppOrder, workerpool_order: WorkerpoolOrder) -> bytes32:
    """
    @notice Orders the job once; the two orders are signed offers from the market. The money comes out of this contract's account at
            the hub, which anybody can fill (`depositFor`).
    @return The task that will be answered.
    """
    assert msg.sender == owner, "only the owner asks"
    assert app_order.appprice + workerpool_order.workerpoolprice <= maxPrice, "too expensive"
    self.asked += 1
    request: RequestOrder = RequestOrder(
        app=app_order.app,
        appmaxprice=app_order.appprice,
        dataset=empty(address),
        datasetmaxprice=0,
        workerpool=workerpool_order.workerpool,
        workerpoolmaxprice=workerpool_order.workerpoolprice,
        requester=self,
        volume=1,
        tag=empty(bytes32),
        category=workerpool_order.category,
        trust=trust,
        beneficiary=self,
        callback=self,
        params=self.job,
        salt=convert(self.asked, bytes32),
        sign=b"",
    )
    # A contract has no key: it signs by calling.
    extcall Hub(hub).manageRequestOrder(RequestOrderOperation(order=request, operation=SIGN, sign=b""))
    deal: bytes32 = extcall Hub(hub).matchOrders(app_order, empty(DatasetOrder), workerpool_order, request)
    # The order is new and of one task, so its index is 0.
    task: bytes32 = keccak256(concat(deal, empty(bytes32)))
    self.pending[task] = True
    self.jobOf[task] = keccak256(self.job)
    log Asked(task=task, deal=deal, job=self.jobOf[task])
    return task


@external
def setJob(next_job: String[1024]):
    """
    @notice Changes what is computed from the next question on. Questions that were asked keep the job that they were asked with.
    """
    assert msg.sender == owner, "only the owner changes the job"
    self.job = next_job


@external
def receiveResult(task: bytes32, result: Bytes[2048]):
    """
    @notice The hub's call at the end of a task. 32 bytes are an answer; anything else is the job's error document, on which the
            workers agreed just as well.
    """
    assert msg.sender == hub, "only the hub answers"
    assert self.pending[task], "nobody asked"
    self.pending[task] = False
    if len(result) != 32:
        log Failed(task=task, reason=result)
        return
    value: uint256 = extract32(result, 0, output_type=uint256)
    self.answered[task] = True
    self.answer[task] = value
    self.latest = value
    log Answered(task=task, answer=value)


@external
def takeBack(amount: uint256):
    """
    @notice Takes unspent money out of the hub. A question that nobody answered is refunded there after its deadline.
    """
    assert msg.sender == owner, "only the owner takes money"
    assert extcall Hub(hub).withdrawTo(amount, owner)
