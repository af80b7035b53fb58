# pragma version ~=0.4.0
"""
A smart wallet: calls the token for its owner, several times in one transaction when told to. For tests only.
"""

interface Token:
    def transfer(receiver: address, amount: uint256) -> bool: nonpayable

struct Payment:
    token: address
    receiver: address
    amount: uint256

@external
def pay(payments: DynArray[Payment, 16]):
    for payment: Payment in payments:
        extcall Token(payment.token).transfer(payment.receiver, payment.amount)
