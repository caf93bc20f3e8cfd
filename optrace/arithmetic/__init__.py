"""The update rule of each optimizer as explicit terms with numbers.

`explain` gives the account of one element at one step of a trace, `momentum_origins` says which past
steps a momentum buffer is made of, `account` needs no trace. Never imports torch.
"""

from optrace.arithmetic.account import AGREE_WITHIN, Account, SparseValue, StepInput, Term
from optrace.arithmetic.evaluate import account
from optrace.arithmetic.explain import MomentumOrigins, PastStep, explain, momentum_origins

__all__ = [
    "AGREE_WITHIN",
    "Account",
    "MomentumOrigins",
    "PastStep",
    "SparseValue",
    "StepInput",
    "Term",
    "account",
    "explain",
    "momentum_origins",
]
