# pragma version ~=0.4.0
"""
A token as USDC is to those who receive it: six decimals, ERC-20's Transfer event. Anyone may mint; for tests only.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

balanceOf: public(HashMap[address, uint256])

@external
@view
def decimals() -> uint8:
    return 6

@external
def mint(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, value=amount)

@external
def transfer(receiver: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=msg.sender, receiver=receiver, value=amount)
    return True

@external
def emit_short(receiver: address):
    """An event with Transfer's topics and only four bytes of data."""
    raw_log(
        [
            0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef,
            empty(bytes32),
            convert(receiver, bytes32),
        ],
        x"00000001",
    )
