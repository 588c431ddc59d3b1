"""What the package says when it cannot do what was asked."""


class Refusal(ValueError):  # noqa: N818 - it is no error of the program
    """Something that cannot be done as asked; the message is a whole sentence for the person who asked.

    A page shows it as it is. Any other exception is a defect of ours and is logged instead.
    """
