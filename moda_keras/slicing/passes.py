"""Decides what to keep: a backward pass finds needed channels, a forward pass available ones.

Of every tensor of the new model it is known which channels of the original it keeps, and the exact
constant that stands for every dropped channel that somebody reads. What a layer makes of them is
left to the rules.
"""

import dataclasses

import numpy as np

from moda_keras.graph import Graph, Step, Tensor
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.checks import check_needs, check_slice
from moda_keras.slicing.plan import Fill, PlannedStep
from moda_keras.slicing.registry import Rule, Slice
from moda_keras.slicing.sharing import Agreement


@dataclasses.dataclass(frozen=True, eq=False)
class Passes:
    """The making of one plan.

    Attributes:
        graph: The original's graph.
        rules: The rule of every step.
        masks: Maps the tensors of hidden activations to bool arrays `(units,)`.
        outputs: Int array, the chosen classes: what is read of the graph's first output. The others
            are read whole.
        on_logit_path: Tensors of which the classes' order is asked.
        output_activation: The step to make linear, or None.
        skipped: The step to leave out, or None.
        align: Numbers of channels are rounded up to a multiple of this.
        agreement: What the calls of shared layers have in common.
        unread: Maps tensors to bool arrays `(channels,)`: channels that an earlier
            attempt found to be unread, because the other factor of a product is zero.
    """

    graph: Graph
    rules: dict[Step, Rule]
    masks: dict[Tensor, np.ndarray]
    outputs: np.ndarray
    on_logit_path: set[Tensor]
    output_activation: Step | None
    skipped: Step | None
    align: int
    agreement: Agreement
    unread: dict[Tensor, np.ndarray] = dataclasses.field(default_factory=dict)

    def run(self) -> tuple[list[PlannedStep], list[Fill | None]]:
        """The steps of the new model and the fills of its outputs."""
        while True:
            needed = self.find_needed()
            if not self.agreement.is_reached_on(needed):
                continue
            steps, fills = self.plan_steps(needed)
            if self.agreement.is_reached_by(steps) and not self.find_unread(needed, steps):
                return steps, fills

    # ---------------------------------------------------------------------------------- backward

    def find_needed(self) -> dict[Tensor, np.ndarray]:
        """Per tensor a bool array `(channels,)`: which channels its producer must provide."""
        tensors = [*self.graph.inputs, *(t for step in self.graph.steps for t in step.outputs)]
        needed = {tensor: np.zeros(tensor.channels or 1, dtype=bool) for tensor in tensors}
        needed[self.graph.outputs[0]][self.outputs] = True
        for tensor in self.graph.outputs[1:]:
            needed[tensor][:] = True
        for step in reversed(self.graph.steps):
            for tensor in step.outputs:
                needed[tensor] = self.provided(step, tensor, needed[tensor])
            for tensor, mask in zip(step.inputs, self.reads(step, needed), strict=True):
                needed[tensor] |= mask
        return needed

    def provided(self, step: Step, tensor: Tensor, needed: np.ndarray) -> np.ndarray:
        """What of `tensor` is made, if `needed` of it is read."""
        feeds_back = self.rule(step).feeds_back  # the layer itself reads all of its units
        unread = self.unread.get(tensor, np.False_)
        needed = np.ones_like(needed) if feeds_back else needed & ~unread
        needed &= self.masks.get(tensor, True)
        if not needed.any():  # no tensor can be without channels
            needed[0] = True
        if tensor not in self.on_logit_path and not feeds_back:
            spare = np.flatnonzero(~needed)
            needed[spare[: -int(needed.sum()) % self.align]] = True
        return needed | self.agreement.needed.get(step.operation, False)

    def reads(self, step: Step, needed: dict[Tensor, np.ndarray]) -> list[np.ndarray]:
        own = [needed[tensor] for tensor in step.outputs]
        if step is self.skipped:
            return own
        rule = self.rule(step)
        reads = rule.needs(step, own if rule.several_outputs else own[0])
        check_needs(rule, step, reads)
        return reads

    def rule(self, step: Step) -> Rule:
        return self.agreement.rule(step, self.rules[step])

    def find_unread(self, needed: dict[Tensor, np.ndarray], steps: list[PlannedStep]) -> bool:
        """Whether unneeded channels were made; they will not be made again."""
        read = {tensor: np.zeros_like(mask) for tensor, mask in needed.items()}
        for tensor in [*self.graph.outputs, *(self.skipped.inputs if self.skipped else [])]:
            read[tensor][:] = True
        for planned in steps:
            for tensor, channels in zip(planned.step.inputs, planned.slice.inputs, strict=True):
                read[tensor] |= channels.is_kept
        is_any_new = False
        for planned in steps:
            for tensor, channels in zip(planned.step.outputs, planned.slice.outputs, strict=True):
                in_vain = channels.is_kept & needed[tensor] & ~read[tensor]
                known = self.unread.get(tensor, np.zeros_like(in_vain))
                self.unread[tensor] = known | (in_vain & self.masks.get(tensor, True))
                is_any_new |= self.unread[tensor].sum() > known.sum()
        return is_any_new

    # ----------------------------------------------------------------------------------- forward

    def plan_steps(
        self, needed: dict[Tensor, np.ndarray]
    ) -> tuple[list[PlannedStep], list[Fill | None]]:
        carried = {t: Channels.full(t.channels or 1) for t in self.graph.inputs}
        steps = []
        for step in self.graph.steps:
            if step is self.skipped:
                carried[step.outputs[0]] = carried[step.inputs[0]]
                continue
            wanted = [self.wanted(step, tensor, needed[tensor]) for tensor in step.outputs]
            planned = self.plan_step(step, [carried[t] for t in step.inputs], wanted)
            steps.append(planned)
            for tensor, channels in zip(step.outputs, planned.slice.outputs, strict=True):
                mask = self.masks.get(tensor)
                carried[tensor] = channels if mask is None else channels.masked(mask)
        first, *others = (carried[tensor] for tensor in self.graph.outputs)
        whole = [find_fill(each, each.exactly(np.arange(each.size))) for each in others]
        return steps, [find_fill(first, first.exactly(self.outputs)), *whole]

    def wanted(self, step: Step, tensor: Tensor, needed: np.ndarray) -> np.ndarray:
        wanted = np.flatnonzero(needed)
        if tensor not in self.on_logit_path or self.agreement.is_shared(step):
            return wanted
        return self.outputs if np.array_equal(wanted, np.sort(self.outputs)) else wanted

    def plan_step(
        self, step: Step, inputs: list[Channels], wanted: list[np.ndarray]
    ) -> PlannedStep:
        rule = self.rule(step)
        keeps_idle = rule.reads_idle and self.align > 1 and not self.agreement.is_shared(step)
        sources = inputs if keeps_idle else [source.without_idle() for source in inputs]
        sources = self.agreement.sources(step, sources)
        decision = self.decide(rule, step, sources, wanted)
        if step is self.output_activation:
            decision.config["activation"] = "linear"
        fills = [find_fill(old, new) for old, new in zip(inputs, decision.inputs, strict=True)]
        return PlannedStep(step, rule, decision, fills)

    def decide(
        self, rule: Rule, step: Step, sources: list[Channels], wanted: list[np.ndarray]
    ) -> Slice:
        asked = wanted if rule.several_outputs else wanted[0]
        decision = rule.slice(step, sources, asked)
        check_slice(rule, step, decision)
        spare = self.missing(step, decision, wanted[0])
        if not len(spare):
            return decision
        return rule.slice(step, [source.explicit(spare) for source in sources], asked)

    def missing(self, step: Step, decision: Slice, wanted: np.ndarray) -> np.ndarray:
        """Channels that a step on unlike sets of channels lacks to a whole multiple of `align`."""
        output = decision.outputs[0]
        sizes = {channels.size for channels in [*decision.inputs, output]}
        if len(sizes) > 1 or step.outputs[0] in self.on_logit_path:
            return wanted[:0]
        return np.setdiff1d(wanted, output.kept)[: -len(output.kept) % self.align]


def find_fill(old: Channels, new: Channels) -> Fill | None:
    """How to make `new` from the available channels; None if it exists already."""
    counts = new.is_kept[new.kept]
    is_there = old.is_kept[new.kept] | ~counts
    if np.array_equal(new.kept, old.kept) and is_there.all():
        return None
    position = np.full(old.size, -1)
    position[old.kept] = np.arange(len(old.kept))
    sources = np.where(is_there, position[new.kept], -1)
    return Fill(sources, np.where(sources < 0, old.const[new.kept], 0.0))
