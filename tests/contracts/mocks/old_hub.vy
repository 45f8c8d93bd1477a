# pragma version ==0.4.3
"""
@title The hub before this one, for tests: scores, and nothing else
"""

viewScore: public(HashMap[address, uint256])


@external
def set_score(worker: address, score: uint256):
    self.viewScore[worker] = score
