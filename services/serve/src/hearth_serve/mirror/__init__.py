"""The house's mirror: brings weights from outside once, and hands them to all machines that want them."""
