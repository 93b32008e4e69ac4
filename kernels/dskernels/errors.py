"""What a kernel says when it cannot run on what it was given."""


class KernelError(ValueError):
    """Wrong shape, layout, type or device; the message names what is there and what is wanted."""
