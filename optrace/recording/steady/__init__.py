"""The straight path of a steady loop: what an event costs where everything is as it was at the same call a turn before.

Between two calls of torch the recorder's code and data leave the processor's caches, so what counts is how much
of both a call touches. Here each of the three calls goes through two short functions: one looks whether anything was
touched since the last event (`entering`), the other at what the call did (`leaving`). What there is to look up was
looked up when the call was first met; what is known of the values lies in a `Picture` (both in `acquainted`). Whatever
is not as expected (another thread, a call within a call, a value touched by hand, a new module, …) is left to the
general way, which begins with `settle` and decides everything anew. So no event comes from here that the general way
would not have made of the same bytes.
"""

from optrace.recording.steady.leaving import Steady

__all__ = ["Steady"]
