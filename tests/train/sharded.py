"""`train.py` with FSDP or DeepSpeed on CPUs. Accelerate shards on accelerators alone; both libraries do on CPUs too."""

import os
import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType

if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
else:
    PartialState()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    PartialState._shared_state |= {"num_processes": world, "process_index": rank, "local_process_index": rank}

if __name__ == "__main__":
    import train

    try:
        sys.exit(train.main())
    except ValueError as error:
        sys.exit(f"train.py: {error}")
