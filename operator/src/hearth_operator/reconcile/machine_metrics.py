"""Figures of joined machines, as they tell them: memory, cards, power, whether they are left to their owner, and how
often they were woken.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hearth_operator.reconcile.world import GuestWatch, WakeWatch

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Sample = tuple[tuple[str, ...], float]


class MachineCollector(Collector):
    """Reads what is known when it is asked: what a machine no longer tells vanishes by itself."""

    def __init__(
        self, guests: Callable[[], Mapping[str, GuestWatch]], wakes: Callable[[], Mapping[str, WakeWatch]]
    ) -> None:
        self._guests = guests
        self._wakes = wakes

    def collect(self) -> "Iterable[Metric]":
        """Yield the families."""
        known = sorted(self._guests().items())
        facts = [(node, watch.facts) for node, watch in known if watch.facts is not None and watch.trouble is None]
        cards = [(node, f"{i}", gpu) for node, told in facts for i, gpu in enumerate(told.gpus)]
        yield _family(
            "hearth_node_yielding",
            "1 while the node is left to its owner",
            ("node",),
            [((node,), float(watch.stay.yields)) for node, watch in known],
        )
        yield _family(
            "hearth_machine_memory_total_bytes",
            "Main memory",
            ("node",),
            [((node,), float(told.memory_total)) for node, told in facts],
        )
        yield _family(
            "hearth_machine_memory_available_bytes",
            "Main memory that a program could take",
            ("node",),
            [((node,), float(told.memory_available)) for node, told in facts],
        )
        yield _family(
            "hearth_machine_gpu_memory_used_bytes",
            "Memory of a card that is taken, by anybody",
            ("node", "gpu"),
            [((node, card), float(gpu.memory_used)) for node, card, gpu in cards],
        )
        yield _family(
            "hearth_machine_gpu_utilization_ratio",
            "Share of the last moments in which a card computed",
            ("node", "gpu"),
            [((n, card), gpu.utilization / 100) for n, card, gpu in cards if gpu.utilization is not None],
        )
        power = [((node, "processor"), told.power_watts) for node, told in facts if told.power_watts is not None]
        power += [((n, f"gpu{card}"), gpu.power_watts) for n, card, gpu in cards if gpu.power_watts is not None]
        yield _family("hearth_machine_power_watts", "Power that a part takes", ("node", "part"), power)
        wakes = CounterMetricFamily(
            "hearth_node_wakes", "Tries to wake the node's machine, by result", labels=("node", "result")
        )
        for node, watch in sorted(self._wakes().items()):
            for result, count in sorted(watch.counts.items()):
                wakes.add_metric((node, result), count)
        yield wakes


def _family(name: str, says: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, says, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
