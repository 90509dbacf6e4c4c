"""What the replica that leads does: the queue, its workers, the probes. A standby does none of it, but its caches are warm."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dicom_operator import api
from dicom_operator.api import Key
from dicom_operator.apiserver.cache import Cache
from dicom_operator.metrics import Metrics
from dicom_operator.probe import Prober
from dicom_operator.reconcile import Reconciler
from dicom_operator.workqueue import WorkQueue


@dataclass(frozen=True, slots=True)
class Work:
    """The parts that work."""

    queue: WorkQueue[Key]
    reconciler: Reconciler
    prober: Prober
    cache: Cache
    metrics: Metrics
    workers: int

    async def term(self) -> None:
        """From gaining the lead to losing it, when it is cancelled, or to the closing of the queue; looks at every adapter at once."""
        self.metrics.leads(value=True)
        self.prober.forget()
        self.queue.open()
        for resource in api.RECONCILED:
            for body in self.cache.all(resource):
                self.queue.look(Key.of(resource.kind, body))
        workers = asyncio.create_task(self.queue.run(self.workers, self.reconciler.process), name="workers")
        probes = asyncio.create_task(self.prober.run(), name="probes")
        try:
            await asyncio.wait([workers, probes], return_when=asyncio.FIRST_COMPLETED)
            if probes.done():
                probes.result()
            if workers.done():
                workers.result()
        finally:
            self.queue.close()
            for task in (workers, probes):
                task.cancel()
            await asyncio.gather(workers, probes, return_exceptions=True)
            self.metrics.leads(value=False)
