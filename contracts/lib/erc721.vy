# pragma version ==0.4.3
"""
@title ERC-721, enumerable
@license Apache-2.0
@dev Non-fungible tokens that are listed, in all and by owner. Checks, their order and the custom errors are those of
     the published registries (OpenZeppelin Contracts 5). A token is minted once and never burnt.
@notice Only the owner, an operator of the owner or the approved account can move a token; nobody can freeze one.
"""

from . import token_word

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    tokenId: indexed(uint256)


event Approval:
    owner: indexed(address)
    approved: indexed(address)
    tokenId: indexed(uint256)


event ApprovalForAll:
    owner: indexed(address)
    operator: indexed(address)
    approved: bool


MAX_TRANSFER_DATA: constant(uint256) = 1024

_ERC165: constant(bytes4) = 0x01ffc9a7
_ERC721: constant(bytes4) = 0x80ac58cd
_ERC721_METADATA: constant(bytes4) = 0x5b5e139f
_ERC721_ENUMERABLE: constant(bytes4) = 0x780e9d63

totalSupply: public(uint256)
isApprovedForAll: public(HashMap[address, HashMap[address, bool]])
_words: HashMap[uint256, uint256]
_balances: HashMap[address, uint256]
_approved: HashMap[uint256, address]
_all_tokens: HashMap[uint256, uint256]
_owned_tokens: HashMap[address, HashMap[uint256, uint256]]


@deploy
def __init__():
    pass


@external
@view
def supportsInterface(interfaceId: bytes4) -> bool:
    """
    @dev ERC-165: ERC-165 itself, ERC-721 and its metadata and enumerable extensions.
    """
    return interfaceId in [_ERC165, _ERC721, _ERC721_METADATA, _ERC721_ENUMERABLE]


@external
@view
def balanceOf(token_owner: address) -> uint256:
    """
    @dev How many tokens an account holds. The zero address is refused with `ERC721InvalidOwner`.
    """
    return self._balance_of(token_owner)


@external
@view
def ownerOf(tokenId: uint256) -> address:
    """
    @dev Who holds the token. An unknown one is refused with `ERC721NonexistentToken`.
    """
    return token_word._owner(self._existing_word(tokenId))


@external
@view
def getApproved(tokenId: uint256) -> address:
    """
    @dev Who may move the token besides its owner and the owner's operators; zero for nobody.
    """
    self._existing_word(tokenId)
    return self._approved[tokenId]


@external
@view
def tokenByIndex(index: uint256) -> uint256:
    """
    @dev The token at a position of the list of all. Beyond its end: `ERC721OutOfBoundsIndex`.
    """
    if index >= self.totalSupply:
        self._revert_out_of_bounds(empty(address), index)
    return self._all_tokens[index]


@external
@view
def tokenOfOwnerByIndex(token_owner: address, index: uint256) -> uint256:
    """
    @dev The token at a position of an account's list. Beyond its end: `ERC721OutOfBoundsIndex`.
    """
    if index >= self._balance_of(token_owner):
        self._revert_out_of_bounds(token_owner, index)
    return self._owned_tokens[token_owner][index]


@external
def approve(to: address, tokenId: uint256):
    """
    @dev Let `to` move the token until its next transfer. Only the owner and the owner's operators may.
    """
    token_owner: address = token_word._owner(self._existing_word(tokenId))
    if msg.sender != token_owner and not self.isApprovedForAll[token_owner][msg.sender]:
        raw_revert(abi_encode(msg.sender, method_id=method_id("ERC721InvalidApprover(address)")))
    self._approved[tokenId] = to
    log Approval(owner=token_owner, approved=to, tokenId=tokenId)


@external
def setApprovalForAll(operator: address, approved: bool):
    """
    @dev Let `operator` move all tokens of the sender, or no longer.
    """
    if operator == empty(address):
        raw_revert(abi_encode(operator, method_id=method_id("ERC721InvalidOperator(address)")))
    self.isApprovedForAll[msg.sender][operator] = approved
    log ApprovalForAll(owner=msg.sender, operator=operator, approved=approved)


@external
def transferFrom(sender: address, receiver: address, tokenId: uint256):
    """
    @dev Move the token; the receiver is not asked.
    """
    self._transfer(sender, receiver, tokenId)


@external
def safeTransferFrom(sender: address, receiver: address, tokenId: uint256, data: Bytes[MAX_TRANSFER_DATA] = b""):
    """
    @dev Move the token; a receiver that is a contract must accept it through `onERC721Received`.
    @notice The receiver is called after all state is written, so re-entering finds the transfer done.
    """
    self._transfer(sender, receiver, tokenId)
    if not receiver.is_contract:
        return
    selector: bytes4 = method_id("onERC721Received(address,address,uint256,bytes)", output_type=bytes4)
    succeeded: bool = False
    answer: Bytes[1024] = b""
    succeeded, answer = raw_call(
        receiver,
        abi_encode(
            msg.sender,
            sender,
            tokenId,
            data,
            method_id=method_id("onERC721Received(address,address,uint256,bytes)"),
        ),
        max_outsize=1024,
        revert_on_failure=False,
    )
    if not succeeded and len(answer) > 0:
        raw_revert(answer)
    accepted: bool = False
    if succeeded and len(answer) >= 32:
        accepted = convert(slice(answer, 0, 4), bytes4) == selector
    if not accepted:
        self._revert_receiver(receiver)


@internal
@view
def _balance_of(token_owner: address) -> uint256:
    if token_owner == empty(address):
        raw_revert(abi_encode(token_owner, method_id=method_id("ERC721InvalidOwner(address)")))
    return self._balances[token_owner]


@internal
@view
def _existing_word(token_id: uint256) -> uint256:
    word: uint256 = self._words[token_id]
    if word == 0:
        raw_revert(abi_encode(token_id, method_id=method_id("ERC721NonexistentToken(uint256)")))
    return word


@internal
def _mint(receiver: address, token_id: uint256, policy: uint256):
    """
    @dev The caller promises that the token does not exist yet.
    """
    if receiver == empty(address):
        self._revert_receiver(receiver)
    position: uint256 = self.totalSupply
    owned_position: uint256 = self._balances[receiver]
    self._words[token_id] = token_word._pack(receiver, policy, position, owned_position)
    self._all_tokens[position] = token_id
    self._owned_tokens[receiver][owned_position] = token_id
    # Both counters count tokens, of which there are fewer than 2**32 (see token_word).
    self.totalSupply = unsafe_add(position, 1)
    self._balances[receiver] = unsafe_add(owned_position, 1)
    log Transfer(sender=empty(address), receiver=receiver, tokenId=token_id)


@internal
def _transfer(sender: address, receiver: address, token_id: uint256):
    if receiver == empty(address):
        self._revert_receiver(receiver)
    word: uint256 = self._existing_word(token_id)
    token_owner: address = token_word._owner(word)
    if (
        msg.sender != token_owner
        and not self.isApprovedForAll[token_owner][msg.sender]
        and msg.sender != self._approved[token_id]
    ):
        raw_revert(
            abi_encode(msg.sender, token_id, method_id=method_id("ERC721InsufficientApproval(address,uint256)"))
        )
    if token_owner != sender:
        raw_revert(
            abi_encode(
                sender, token_id, token_owner, method_id=method_id("ERC721IncorrectOwner(address,uint256,address)")
            )
        )
    self._approved[token_id] = empty(address)
    self._leave_owner(token_owner, token_word._owned_position(word))
    owned_position: uint256 = self._balances[receiver]
    self._words[token_id] = token_word._pack(
        receiver, token_word._policy(word), token_word._position(word), owned_position
    )
    self._owned_tokens[receiver][owned_position] = token_id
    self._balances[receiver] = unsafe_add(owned_position, 1)
    log Transfer(sender=token_owner, receiver=receiver, tokenId=token_id)


@internal
def _leave_owner(token_owner: address, owned_position: uint256):
    """
    @dev Take a token out of its owner's list: the last one moves into the gap.
    """
    last: uint256 = self._balances[token_owner] - 1
    if owned_position != last:
        moved: uint256 = self._owned_tokens[token_owner][last]
        self._owned_tokens[token_owner][owned_position] = moved
        self._words[moved] = token_word._with_owned_position(self._words[moved], owned_position)
    self._owned_tokens[token_owner][last] = 0
    self._balances[token_owner] = last


@internal
@pure
def _revert_out_of_bounds(token_owner: address, index: uint256):
    raw_revert(abi_encode(token_owner, index, method_id=method_id("ERC721OutOfBoundsIndex(address,uint256)")))


@internal
@pure
def _revert_receiver(receiver: address):
    raw_revert(abi_encode(receiver, method_id=method_id("ERC721InvalidReceiver(address)")))
