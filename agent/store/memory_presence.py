"""Front ends in memory."""

import time
from dataclasses import replace

from agent.records import LIVE_STATES, IsAlive, Lease, Task
from agent.store.memory_tasks import MemoryTasks
from agent.store.rules import is_left


class MemoryPresence(MemoryTasks):
    """The `PresenceStore` part of the store."""

    def enter(self, owner: str, lease: Lease) -> None:
        with self._lock:
            self._front_ends[owner] = replace(lease, heartbeat=time.time())

    def enter_alone(self, owner: str, lease: Lease, is_alive: IsAlive) -> Lease | None:
        with self._lock:
            kind = f"{owner.partition(':')[0]}:"
            for other, there in list(self._front_ends.items()):
                if not other.startswith(kind) or there.worker == lease.worker:
                    continue
                if not is_alive(there):
                    del self._front_ends[other]
                elif other == owner:
                    return there
            self.enter(owner, lease)
            return None

    def depart(self, owner: str) -> None:
        with self._lock:
            self._front_ends.pop(owner, None)

    def present(self) -> dict[str, Lease]:
        with self._lock:
            return {owner: self._front_ends[owner] for owner in sorted(self._front_ends)}

    def adopt_tasks(self, owner: str, is_alive: IsAlive) -> list[Task]:
        present = self.present()
        others = [other for other in {task.owner for task in self.tasks()} | set(present) if is_left(other, owner)]
        gone = [other for other in others if other not in present or not is_alive(present[other])]
        with self._lock:
            still = [other for other in gone if self._front_ends.get(other) == present.get(other)]
            adopted = [task for other in still for task in self._adopt(other, owner)]
        return sorted(adopted, key=lambda task: task.number)

    def _adopt(self, other: str, owner: str) -> list[Task]:
        adopted: list[Task] = []
        for task in self.tasks(owner=other):
            delivery = self._deliveries.get((task.id, other))
            owed = delivery is not None and delivery.state == "pending" and task.state in ("done", "failed")
            if not owed and task.state not in LIVE_STATES:
                continue
            if delivery is not None and delivery.state == "pending":
                del self._deliveries[task.id, other]
                self._deliveries[task.id, owner] = replace(delivery, surface=owner)
            self._tasks[task.id] = replace(task, owner=owner)
            adopted.append(self._tasks[task.id])
        self._front_ends.pop(other, None)
        return adopted
