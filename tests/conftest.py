"""What holds for every test."""

import os

# gRPC's hooks around fork(2) print into the child's error output, and a fact of pyinfra that a test runs on this
# machine is taken for failed by it. Read when gRPC is imported: by the tests of the gateway, in the same process.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # where PyTorch's own environment runs the kernels' tests
    pass
else:
    # A machine that stalls for 200 ms says nothing about the code.
    settings.register_profile("dsops", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("dsops")
