"""`train.py` with FSDP on CPUs. Accelerate shards on accelerators alone; torch does on CPUs too, so this says that they are some."""

import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType

PartialState(cpu=True)
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU

if __name__ == "__main__":
    import train

    try:
        sys.exit(train.main())
    except ValueError as error:
        sys.exit(f"train.py: {error}")
