"""What goes wrong for a reason that the user can mend."""


class TrainError(Exception):
    """A message that names the file or the node, the reason, and what helps."""
