"""What would make the host wait for a device."""

from torch.utils._python_dispatch import TorchDispatchMode

READS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "unique2", "_unique2"}
COPIES = {"_to_copy", "copy_"}


class Waits(TorchDispatchMode):
    """Names of the dispatched calls for which a host waits: reads, and synchronous copies between devices.

    A tensor on "meta" has a device of its own and no values: whatever reads one fails, also ``tolist`` and ``numpy``,
    which are not dispatched.
    """

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, function.overloadpacket.__name__
        found = function(*args, **kwargs)
        if name in READS:
            self.found.append(name)
        elif name in COPIES:
            devices = {args[0].device, found.device} | ({args[1].device} if name == "copy_" else set())
            asynchronous = kwargs.get("non_blocking", name == "copy_" and len(args) > 2 and args[2])
            if len(devices) > 1 and not asynchronous:
                self.found.append(name)
        return found
