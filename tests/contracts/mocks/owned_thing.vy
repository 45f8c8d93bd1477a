# pragma version ==0.4.3
"""
@title A contract with an owner that no registry knows
"""

owner: public(address)


@deploy
def __init__(owner: address):
    self.owner = owner
