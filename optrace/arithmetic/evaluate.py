"""`account`: the arithmetic of one step for one element, by the rule of the optimizer's class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optrace.arithmetic import rules
from optrace.arithmetic.account import Account, SparseValue, StepInput, Term, Unaccountable
from optrace.arithmetic.conclude import conclude, number_of, part_of
from optrace.arithmetic.floating import Floating
from optrace.arithmetic.general import general
from optrace.arithmetic.pick import gradient_at, implementation, state_at
from optrace.arithmetic.sheet import Hyper, Sheet


def account(step: StepInput, element: tuple[int, ...]) -> Account:
    """The update of `element` (one index per dimension, () for a 0-dim parameter) at this step.

    Raises IndexError where the parameter has no such element.
    """
    element = _checked(step, element)
    if step.skipped:
        return _standstill(step, element, "the GradScaler left this step out: it found inf or nan in the gradients")
    if step.grad is None and step.class_name != "LBFGS":
        return _standstill(step, element, "no gradient at this step, so the optimizer passed this parameter over")
    rule = rules.find(step.class_name)
    if rule is None:
        return general(step, element, f"optrace does not know the update rule of {step.class_name}")
    with np.errstate(all="ignore"):
        try:
            if isinstance(rule, rules.ElementRule):
                found = _elementwise(step, element, rule)
            else:
                found = rule.compute(step, element)
        except Unaccountable as lack:
            return general(step, element, f"not computed as torch's {step.class_name} does: {lack}")
        except (ArithmeticError, ValueError):  # a division by zero, the root of a negative number
            return general(step, element, "with its hyperparameters the rule cannot be computed")
    return replace(found, rule=rule.name, source=rule.source)


def _checked(step: StepInput, element: tuple[int, ...]) -> tuple[int, ...]:
    shape = step.shape
    if len(element) != len(shape) or not all(-n <= i < n for i, n in zip(element, shape, strict=True)):
        raise IndexError(f"{step.parameter or 'the parameter'} of shape {shape} has no element {list(element)}")
    return tuple(i % n for i, n in zip(element, shape, strict=True))


def _standstill(step: StepInput, element: tuple[int, ...], reason: str) -> Account:
    return replace(conclude(step, element, (), number_of(step.before[element]), reason=reason), within=0)


def _elementwise(step: StepInput, element: tuple[int, ...], rule: rules.ElementRule) -> Account:
    gradient = gradient_at(step.grad, element)
    if isinstance(step.grad, SparseValue):
        if not rule.sparse:
            raise Unaccountable("its gradient is sparse")
        if gradient is None and not step.hyper.get("momentum"):
            return _standstill(step, element, "the sparse gradient has no entry here, so this element was left alone")
    which = implementation(step)
    on_device = bool(step.hyper.get("capturable") or step.hyper.get("differentiable"))
    if on_device and not step.shape and Floating(step.dtype).narrow:
        raise Unaccountable("torch computes a 0-dim narrow parameter in float32 where the step count is a tensor")
    is_complex = np.iscomplexobj(step.before)
    n = Floating(step.dtype, fused=which == "fused", foreach=which == "foreach", lane=_lane(step, element))
    whole = Floating(step.dtype, foreach=which == "foreach", contract=False) if is_complex else n
    before, after = (state_at(state, step.shape, element) for state in (step.state_before, step.state_after))
    terms: list[Term] = []
    values: list[float] = []
    slack = 0.0
    for part in ("real", "imaginary") if is_complex else ("",):
        sheet = Sheet(
            hyper=Hyper(step.hyper, step.class_name),
            n=n,
            whole=whole,
            p=part_of(step.before[element], part),
            g=part_of(0.0 if gradient is None else gradient, part),
            before={name: part_of(value, part) for name, value in before.items()},
            after={name: part_of(value, part) for name, value in after.items()},
            mode=which,
            sparse=isinstance(step.grad, SparseValue),
            part=part,
        )
        if step.grad_scale is not None and which == "fused":
            sheet.unscale(step.grad_scale)
        values.append(float(rule.compute(sheet)))
        terms.extend(sheet.terms)
        slack = max(slack, float(sheet.slack))
    return conclude(step, element, terms, complex(*values) if is_complex else values[0], slack=slack)


def _lane(step: StepInput, element: tuple[int, ...]) -> str:
    """Which loop torch's CPU `add` reaches this element in: 32 numbers at a time, then one by one."""
    if not step.device.startswith("cpu"):
        return ""
    place, count = step.place or (int(np.ravel_multi_index(element, step.shape)) if element else 0, step.before.size)
    return "body" if place < count // 32 * 32 else "tail"
