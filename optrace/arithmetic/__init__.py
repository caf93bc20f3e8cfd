"""The update rule of each optimizer as explicit terms with numbers.

`account` explains one element of one parameter at one step; `explain` does so from a trace;
`momentum_origins` says which past steps a momentum buffer is made of. Never imports torch.
"""

from optrace.arithmetic.account import AGREE_WITHIN, Account, SparseValue, StepInput, Term
from optrace.arithmetic.evaluate import account

__all__ = ["AGREE_WITHIN", "Account", "SparseValue", "StepInput", "Term", "account"]
